/** What was asked, and the two answers: others' text, in Chinese whatever the page speaks. */

import { element } from "/page/elements.js";
import { t } from "/page/i18n.js";

const CHINESE = { lang: "zh-CN" };

/** @param {any} question of a pair @returns {HTMLElement[]} */
export function questionView(question) {
  return question.task === "news" ? newsView(question) : reportView(question);
}

/** @param {{lines: string[], text: string}} answer @returns {HTMLElement[]} */
export function answerView({ lines, text }) {
  const labels = lines.map((line) => element("li", CHINESE, line));
  return [
    lines.length ? element("ul", { class: "lines" }, ...labels) : null,
    text ? element("p", { ...CHINESE, class: "written" }, text) : element("p", { class: "hint" }, t("no_text")),
  ].filter(Boolean);
}

function newsView({ text, published_at: at, importance, figures, context }) {
  const numbers = ["actual", "consensus", "previous"].filter((name) => figures?.[name] !== undefined);
  const released = [
    ...(figures?.indicator ? [figures.indicator] : []),
    ...numbers.map((name) => t(name, { value: `${figures[name]}${figures.unit ?? ""}` })),
  ];
  const meta = [
    at ? t("published", { at: beijingTime(at) }) : null,
    importance ? t("importance", { n: importance }) : null,
    released.length ? released.join(t("list_separator")) : null,
    context ? marketLine(context) : null,
  ].filter(Boolean);
  const lines = meta.map((line) => element("li", {}, line));
  return [
    element("h2", { class: "hint" }, t("question_news")),
    element("p", { ...CHINESE, class: "asked-text" }, text),
    ...(lines.length ? [element("ul", { class: "meta hint" }, ...lines)] : []),
  ];
}

function reportView({ question, passages }) {
  const shown = passages.map(({ text, source, page }, index) =>
    element(
      "li",
      {},
      element("p", { class: "hint" }, `[${index + 1}] ${source}${page ? ` · ${t("page_number", { n: page })}` : ""}`),
      element("p", CHINESE, text),
    ),
  );
  return [
    element("h2", { class: "hint" }, t("question_report")),
    element("p", { ...CHINESE, class: "asked-text" }, question),
    // It scrolls by itself where it is long: the answers stay near. Reached by the keyboard, too.
    element("ol", { class: "passages", tabindex: "0", "aria-label": t("passages") }, ...shown),
  ];
}

function marketLine(context) {
  return t("market", {
    ticker: context.ticker,
    minutes: context.window_min,
    pre_return: percent(context.pre_return, true),
    volatility: percent(context.volatility),
    typical_move: percent(context.typical_move),
  });
}

/** @param {number} fraction @param {boolean} [signed] @returns {string} */
function percent(fraction, signed = false) {
  const text = `${Math.abs(fraction * 100).toFixed(2)}%`;
  if (!signed) return text;
  return `${fraction < 0 ? "−" : "+"}${text}`;
}

/** @param {string} at without a zone it is Beijing's @returns {string} */
function beijingTime(at) {
  const hasZone = /(Z|[+-]\d\d:?\d\d)$/i.test(at);
  const moment = new Date(hasZone ? at : `${at}+08:00`);
  return moment.toLocaleString("sv-SE", { timeZone: "Asia/Shanghai" }).slice(0, 16); // 2026-05-08 20:30
}
