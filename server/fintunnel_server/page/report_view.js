/** A report answer: its passages, the cited ones highlighted. */

import { element } from "./elements.js";
import { t } from "./i18n.js";

/** @param {any} answer @param {any} request @returns {HTMLElement[]} */
export function citationsView(answer, request) {
  const cited = answer.citations.map((index) => `[${index + 1}]`).join(" ");
  const badge = element("strong", { class: "label" }, cited || t("no_citations"));
  const passages = request.passages.map((passage, index) => {
    const isCited = answer.citations.includes(index);
    const page = passage.page ? ` · ${t("page_number", { n: passage.page })}` : "";
    return element(
      "li",
      { class: isCited ? "cited" : "" },
      element("p", { class: "hint" }, `[${index + 1}] ${passage.source}${page}`, isCited ? element("strong", {}, ` ✓ ${t("cited")}`) : null),
      isCited ? element("mark", {}, passage.text) : element("span", {}, passage.text),
    );
  });
  const heading = element("h3", {}, element("span", {}, t("citations")), badge);
  return [element("section", { class: "field" }, heading, element("ol", { class: "passages" }, ...passages))];
}
