/** Pasted lines, and the table of what became of each. */

import { runBatch } from "./batch.js";
import { ANSWER_COLUMNS, answerCells, toCsv } from "./csv.js";
import { download, element, one } from "./elements.js";
import { failureView } from "./failure_view.js";
import { firstFault, showFault } from "./form_check.js";
import { t } from "./i18n.js";
import { askForKey } from "./key_form.js";
import { chosenModels, forModel } from "./models.js";
import { FIELDS } from "./news_view.js";

const MAX_LINES = 2000;

/** @typedef {{text: string, request: object, result: {analysis?: any, error?: any} | null, element: HTMLElement}} Row */

export function startBatch() {
  const form = one("#batch-form");
  const [retry, csv, stop, progress] = ["#batch-retry", "#batch-csv", "#batch .stop", "#batch-progress"].map((each) => one(each));
  /** @type {Row[]} */
  let rows = [];
  /** @type {AbortController | null} */
  let running = null;
  /** @type {unknown} */
  let failure = null;

  form.addEventListener("input", drawCount);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!running) begin();
  });
  stop.addEventListener("click", () => running?.abort());
  retry.addEventListener("click", () => run());
  csv.addEventListener("click", () => download("fintunnel-batch.csv", batchCsv(rows), "text/csv"));
  document.addEventListener("redraw", () => {
    drawCount();
    drawTable();
    drawState();
  });
  drawCount();

  function lines() {
    return form.elements.namedItem("lines").value.split(/\r?\n/).map((line) => line.trim()).filter(Boolean);
  }

  function begin() {
    const fault = firstFault(form);
    showFault(fault, form);
    if (fault) return;
    const texts = lines();
    if (texts.length > MAX_LINES) {
      showFault({ field: form.elements.namedItem("lines"), message: t("too_many_lines", { n: texts.length }) }, form);
      return;
    }
    const model = chosenModels().at(-1);
    const options = form.elements.namedItem("explain").checked ? {} : { explain: false };
    rows = texts.map((text) => {
      const request = forModel({ task: "news", text, ...options }, model);
      return { text, request, result: null, element: element("tr") };
    });
    drawTable();
    run();
  }

  /** Asks for all rows that have no analysis. */
  async function run() {
    const open = rows.filter((row) => !row.result?.analysis);
    for (const row of open) row.result = null;
    open.forEach(drawRow);
    failure = null;
    running = new AbortController();
    drawState();
    const watch = {
      signal: running.signal,
      waiting: (seconds) => (one(".status", form).textContent = t("batch_waiting", { n: seconds })),
      result: (index, result) => {
        open[index].result = result;
        drawRow(open[index]);
        drawState();
      },
    };
    try {
      await runBatch(open.map((row) => row.request), watch);
    } catch (error) {
      if (!running.signal.aborted) {
        failure = error;
        if (error.status === 401) askForKey();
      }
    }
    running = null;
    drawState();
  }

  function drawState() {
    const done = rows.filter((row) => row.result).length;
    const failed = rows.filter((row) => row.result?.error).length;
    const unfinished = rows.some((row) => !row.result?.analysis);
    stop.hidden = !running;
    retry.hidden = Boolean(running) || !unfinished;
    csv.hidden = done === 0;
    progress.hidden = rows.length === 0;
    progress.max = Math.max(rows.length, 1);
    progress.value = done;
    one(".main", form).disabled = Boolean(running);
    one(".status", form).textContent = rows.length ? t("batch_progress", { done, all: rows.length, failed }) : "";
    one("#batch-failure").replaceChildren(...(failure ? [failureView(failure, run)] : []));
  }

  function drawCount() {
    const n = lines().length;
    one("#line-count").textContent = t("line_count", { n });
    one("#line-count").classList.toggle("over", n > MAX_LINES);
  }

  function drawTable() {
    rows.forEach(drawRow);
    const names = ["line", "headline", "impact", "direction", "result"];
    const head = element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, t(name))));
    const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows.map((row) => row.element)));
    one("#batch-table").replaceChildren(...(rows.length ? [element("div", { class: "card table" }, table)] : []));
  }

  /** @param {Row} row */
  function drawRow(row) {
    const { analysis, error } = row.result ?? {};
    const said = analysis?.rationale ?? (error ? `${error.message}（${error.code}）` : analysis ? "–" : t("not_run"));
    row.element.replaceChildren(
      element("td", { class: "number" }, String(rows.indexOf(row) + 1)),
      element("td", { class: "asked", lang: "zh-CN" }, element("span", { title: row.text }, row.text)),
      ...Object.keys(FIELDS).map((name) => element("td", { "data-name": t(name) }, analysis ? labelled(analysis, name) : "–")),
      element("td", { class: error ? "error" : "", "data-name": t("result") }, said),
    );
  }
}

/** @param {any} analysis @param {string} name @returns {HTMLElement} */
function labelled(analysis, name) {
  const probability = analysis[`${name}_probs`]?.[analysis[name]];
  const shown = probability === undefined ? "" : ` ${(probability * 100).toFixed(0)}%`;
  return element("span", { class: `label ${name} ${analysis[name]}` }, t(analysis[name]) + shown);
}

/** @param {{text: string, result: {analysis?: any, error?: any} | null}[]} rows @returns {string} */
export function batchCsv(rows) {
  const lines = rows.map(({ text, result }, index) => [
    index + 1,
    text,
    ...answerCells(result?.analysis),
    result?.error?.code,
    result?.error?.message,
  ]);
  return toCsv([["line", "headline", ...ANSWER_COLUMNS, "error_code", "error_message"], ...lines]);
}
