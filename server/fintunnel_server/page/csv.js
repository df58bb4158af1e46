/** Tables for Excel: UTF-8 with a byte order mark, and no cell that Excel would take for a formula. */

/** @param {(string | number | null | undefined)[][]} rows @returns {string} */
export function toCsv(rows) {
  return "\ufeff" + rows.map((row) => row.map(cell).join(",") + "\r\n").join("");
}

/** @param {string | number | null | undefined} value @returns {string} */
function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const safe = /^[=+\-@\t\r\n＝＋－＠]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export const ANSWER_COLUMNS = [
  ...["impact", "impact_low", "impact_medium", "impact_high"],
  ...["direction", "direction_bearish", "direction_neutral", "direction_bullish"],
  ...["signals", "priced_in", "wait_and_see", "text", "citations", "adapter", "calibrated", "truncated", "id"],
];

/** @param {any} answer a NewsAnalysis or ReportAnswer; null leaves the cells empty @returns {(string | number | null)[]} */
export function answerCells(answer) {
  if (!answer) return ANSWER_COLUMNS.map(() => null);
  return [
    ...[answer.impact, ...["low", "medium", "high"].map((label) => answer.impact_probs?.[label])],
    ...[answer.direction, ...["bearish", "neutral", "bullish"].map((label) => answer.direction_probs?.[label])],
    answer.signals?.join(" "),
    ...["priced_in", "wait_and_see"].map((name) => answer.signal_probs?.[name]),
    answer.rationale ?? answer.answer,
    answer.citations?.map((index) => index + 1).join(" "),
    answer.model.adapter ?? "base",
    ...[String(answer.calibrated), String(answer.truncated), answer.id],
  ];
}
