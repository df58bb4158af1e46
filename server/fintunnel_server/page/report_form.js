/** The form of a question on report passages, as a request and back. */

import { element, one } from "./elements.js";
import { REPORT_EXAMPLE } from "./examples.js";
import { firstFault, showFault } from "./form_check.js";
import { t } from "./i18n.js";
import { answerOptions, fillAnswerOptions } from "./news_form.js";

const MAX_PASSAGES = 8;

/** @param {HTMLFormElement} form @returns {import("./analysis_panel.js").RequestForm} */
export function reportForm(form) {
  const list = one("#passages");
  const question = form.elements.namedItem("question");
  question.dataset.max = "1000";
  one("#add-passage").addEventListener("click", () => {
    draw([...passages(), { text: "", source: "" }]);
    one("fieldset:last-child textarea", list).focus();
  });
  one("#report-example").addEventListener("click", () => fill(REPORT_EXAMPLE));
  document.addEventListener("redraw", () => draw(passages()));
  draw([{ text: "", source: "" }]);
  return { form, read, fill };

  /** @param {boolean} report shows what is wrong */
  function read(report) {
    const fault = firstFault(form);
    if (report) showFault(fault, form);
    if (fault) return null;
    return { task: "report", question: question.value, passages: passages(), ...answerOptions(form) };
  }

  /** @param {any} request */
  function fill(request) {
    question.value = request.question;
    draw(request.passages);
    fillAnswerOptions(form, request);
    form.dispatchEvent(new Event("input"));
  }

  function passages() {
    return [...list.children].map((row) => {
      const page = one(".page", row).value;
      return { text: one("textarea", row).value, source: one(".source", row).value, ...(page ? { page: Number(page) } : {}) };
    });
  }

  /** @param {{text: string, source: string, page?: number}[]} given */
  function draw(given) {
    list.replaceChildren(...given.map((passage, index) => row(passage, index, given.length)));
    one("#add-passage").disabled = given.length >= MAX_PASSAGES;
  }

  function row(passage, index, count) {
    const source = element("input", { class: "source", required: true, "data-max": "200" });
    const page = element("input", { class: "page", type: "number", min: "1", step: "1" });
    const text = element("textarea", { rows: "3", required: true, "data-max": "2000" });
    source.value = passage.source;
    page.value = passage.page ?? "";
    text.value = passage.text;
    const remove = () => draw(passages().filter((_, each) => each !== index));
    return element(
      "fieldset",
      {},
      element("legend", {}, t("passage", { n: index + 1 })),
      element("div", { class: "grid" }, labelled("source", source), labelled("page", page)),
      labelled("text", text),
      count > 1 ? element("button", { type: "button", class: "plain remove", click: remove }, t("remove")) : null,
    );
  }

  function labelled(name, input) {
    return element("label", { class: "block" }, element("span", {}, t(name)), input);
  }
}
