/** The list of what was asked before. */

import { download, element, one } from "./elements.js";
import { clear, entries, historyCsv, historyJson, remove } from "./history.js";
import { showTime, t } from "./i18n.js";
import { modelTitle } from "./models.js";

/** @param {(entry: import("./history.js").Entry) => void} show */
export function startHistory(show) {
  const clearButton = one("#history-clear");
  one("#history-json").addEventListener("click", () => download("fintunnel-history.json", historyJson(), "application/json"));
  one("#history-csv").addEventListener("click", () => download("fintunnel-history.csv", historyCsv(), "text/csv"));
  clearButton.addEventListener("click", () => {
    if (clearButton.dataset.sure) clear();
    setSure(!clearButton.dataset.sure);
  });
  clearButton.addEventListener("blur", () => setSure(false));
  for (const event of ["redraw", "history"]) document.addEventListener(event, draw);
  draw();

  function setSure(sure) {
    clearButton.dataset.sure = sure ? "yes" : "";
    clearButton.textContent = t(sure ? "clear_sure" : "clear");
  }

  function draw() {
    const kept = entries();
    for (const button of ["#history-json", "#history-csv", "#history-clear"]) one(button).disabled = kept.length === 0;
    const rows = kept.map((entry) => row(entry));
    one("#history-list").replaceChildren(...(rows.length ? rows : [element("p", { class: "card hint" }, t("history_empty"))]));
  }

  function row(entry) {
    const { request, answers } = entry;
    const labels = answers.map(({ model, answer }) => {
      const said = answer.task === "news" ? `${t(answer.impact)} · ${t(answer.direction)}` : answer.citations.map((index) => `[${index + 1}]`).join(" ") || "–";
      return element("span", { class: "badge" }, t("pair", { name: modelTitle(model), value: said }));
    });
    return element(
      "article",
      { class: "card entry" },
      element(
        "button",
        { type: "button", class: "open", click: () => show(entry) },
        element("span", { class: "asked", lang: "zh-CN" }, request.text ?? request.question),
        element("span", { class: "badges" }, element("time", { datetime: entry.at, class: "hint" }, showTime(entry.at)), ...labels),
      ),
      element("button", { type: "button", class: "plain", click: () => remove(entry.id) }, t("remove")),
    );
  }
}
