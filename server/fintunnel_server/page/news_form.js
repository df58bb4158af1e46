/** The form of a headline, as a request and back. Percentages on the page are fractions on the wire. */

import { element, one } from "./elements.js";
import { NEWS_EXAMPLES } from "./examples.js";
import { firstFault, length, showFault } from "./form_check.js";
import { t } from "./i18n.js";

const FRACTIONS = ["pre_return", "volatility", "typical_move"];
const DEFAULT_MAX_TOKENS = 160;

/** @param {HTMLFormElement} form @returns {import("./analysis_panel.js").RequestForm} */
export function newsForm(form) {
  const field = (name) => form.elements.namedItem(name);
  field("text").dataset.max = "4000";
  form.addEventListener("input", drawHints);
  document.addEventListener("redraw", () => {
    drawHints();
    drawExamples();
  });
  drawHints();
  drawExamples();
  return { form, read, fill };

  /** @param {boolean} report shows what is wrong */
  function read(report) {
    const fault = firstFault(form) ?? contextFault();
    if (report) showFault(fault, form);
    return fault ? null : request();
  }

  function request() {
    const given = { task: "news", text: field("text").value };
    const at = field("published_at").value;
    if (at) given.published_at = at.length === 16 ? `${at}:00` : at;
    if (field("importance").value) given.importance = Number(field("importance").value);
    const figures = {};
    for (const name of ["actual", "consensus", "previous"]) {
      if (field(`figures.${name}`).value) figures[name] = Number(field(`figures.${name}`).value);
    }
    for (const name of ["unit", "indicator"]) {
      if (field(`figures.${name}`).value.trim()) figures[name] = field(`figures.${name}`).value.trim();
    }
    if (Object.keys(figures).length) given.figures = figures;
    if (hasContext()) {
      given.context = { ticker: field("context.ticker").value.trim(), window_min: Number(field("context.window_min").value) };
      for (const name of FRACTIONS) given.context[name] = toFraction(field(`context.${name}`).value);
    }
    return { ...given, ...answerOptions(form) };
  }

  function hasContext() {
    return FRACTIONS.some((name) => field(`context.${name}`).value);
  }

  /** @returns {import("./form_check.js").Fault | null} */
  function contextFault() {
    if (!hasContext()) return null;
    const empty = ["ticker", "window_min", ...FRACTIONS].find((name) => !field(`context.${name}`).value.trim());
    if (empty) return { field: field(`context.${empty}`), message: t("context_incomplete") };
    if (Number(field("context.typical_move").value) > 0) return null;
    return { field: field("context.typical_move"), message: t("typical_move_positive") };
  }

  /** @param {any} given */
  function fill(given) {
    form.reset();
    field("text").value = given.text;
    field("published_at").value = given.published_at ?? "";
    field("importance").value = given.importance ?? "";
    for (const [name, value] of Object.entries(given.figures ?? {})) field(`figures.${name}`).value = value;
    for (const [name, value] of Object.entries(given.context ?? {})) {
      field(`context.${name}`).value = FRACTIONS.includes(name) ? Number((value * 100).toPrecision(12)) : value;
    }
    fillAnswerOptions(form, given);
    showFault(null, form);
    form.dispatchEvent(new Event("input"));
  }

  function drawHints() {
    const count = one("#text-count");
    const n = length(field("text").value);
    count.textContent = t("count", { n });
    count.classList.toggle("over", n > 4000);
    for (const details of form.querySelectorAll("details")) {
      const badge = one(".filled", details);
      const fields = [...details.querySelectorAll("input, select")];
      badge.hidden = !fields.some((each) => each.value && each.value !== each.defaultValue);
      badge.textContent = t("filled");
    }
    for (const name of FRACTIONS) {
      const { value } = field(`context.${name}`);
      one(".fraction", field(`context.${name}`).parentElement).textContent = value ? t("as_fraction", { value: toFraction(value) }) : "";
    }
  }

  function drawExamples() {
    const language = document.documentElement.lang.startsWith("zh") ? "zh" : "en";
    const chips = NEWS_EXAMPLES.map(({ title, request: example }) =>
      element("button", { type: "button", class: "chip", click: () => fill(example) }, title[language]),
    );
    one("#examples").replaceChildren(...chips);
  }
}

/** @param {string} percent @returns {number} 0.07 % is 0.0007, not 0.0007000000000000001 */
function toFraction(percent) {
  return Number((Number(percent) / 100).toPrecision(12));
}

/** @param {HTMLFormElement} form @returns {object} explain and max_tokens where they are not the defaults */
export function answerOptions(form) {
  const maxTokens = Number(form.elements.namedItem("max_tokens").value);
  return {
    ...(form.elements.namedItem("explain").checked ? {} : { explain: false }),
    ...(maxTokens === DEFAULT_MAX_TOKENS ? {} : { max_tokens: maxTokens }),
  };
}

/** @param {HTMLFormElement} form @param {any} request */
export function fillAnswerOptions(form, request) {
  form.elements.namedItem("explain").checked = request.explain ?? true;
  form.elements.namedItem("max_tokens").value = request.max_tokens ?? DEFAULT_MAX_TOKENS;
}
