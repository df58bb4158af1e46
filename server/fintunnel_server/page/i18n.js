/** Which language the page speaks, and its words. What draws text of its own listens for `redraw`. */

import { read, write } from "./storage.js";
import { en } from "./texts_en.js";
import { zh } from "./texts_zh.js";

const TEXTS = { zh, en };
const STORED = "fintunnel.language";

/** @type {"zh" | "en"} */
let language = chosenLanguage();

/** @returns {"zh" | "en"} the one chosen before, else the browser's */
function chosenLanguage() {
  const before = read(STORED);
  if (before === "zh" || before === "en") return before;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

/** @param {keyof typeof zh} name @param {Record<string, string | number>} [values] @returns {string} */
export function t(name, values = {}) {
  return TEXTS[language][name].replace(/\{(\w+)\}/g, (_, key) => String(values[key]));
}

/** @param {Date | string} at @returns {string} */
export function showTime(at) {
  return new Date(at).toLocaleString(language === "zh" ? "zh-CN" : "en-GB");
}

export function switchLanguage() {
  language = language === "zh" ? "en" : "zh";
  write(STORED, language);
  translatePage();
  document.dispatchEvent(new Event("redraw"));
}

/** Fills what index.html marks with data-i18n, -placeholder and -label. */
export function translatePage() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = `FinTunnel · ${t("tagline")}`;
  for (const [attribute, set] of MARKS) {
    for (const marked of document.querySelectorAll(`[${attribute}]`)) set(marked, t(marked.getAttribute(attribute)));
  }
}

const MARKS = [
  ["data-i18n", (marked, text) => (marked.textContent = text)],
  ["data-i18n-placeholder", (marked, text) => (marked.placeholder = text)],
  ["data-i18n-label", (marked, text) => marked.setAttribute("aria-label", text)],
];
