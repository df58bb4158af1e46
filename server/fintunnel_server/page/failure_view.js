/** What went wrong, in words, with what to do. */

import { Failure } from "./api.js";
import { element } from "./elements.js";
import { t } from "./i18n.js";

/** @param {unknown} error @returns {string} */
export function failureMessage(error) {
  if (!(error instanceof Failure)) return t("failure_internal", { message: String(error) });
  return t(`failure_${error.kind}`, { message: error.message, status: error.status ?? "–" });
}

/**
 * @param {unknown} error @param {(() => void) | null} retry
 * @returns {HTMLElement} with a button that waits as long as the server asked for
 */
export function failureView(error, retry) {
  const view = element("div", { class: "failure", role: "alert" }, element("p", {}, failureMessage(error)));
  if (error instanceof Failure) {
    if (error.status === 401) view.append(element("p", {}, t("failure_key")));
    if (error.kind === "server") {
      const details = { status: error.status ?? 200, code: error.code ?? "–", id: error.requestId ?? "–" };
      view.append(element("p", { class: "hint" }, t("failure_details", details)));
    }
  }
  if (retry) {
    const button = element("button", { type: "button", class: "retry", click: retry }, t("retry"));
    view.append(button);
    if (error instanceof Failure && error.retryAfter) waitWith(button, view, error.retryAfter);
  }
  return view;
}

/** @param {HTMLElement} button @param {HTMLElement} view @param {number} seconds */
function waitWith(button, view, seconds) {
  const note = element("p", { class: "hint wait", "aria-live": "off" });
  const until = Date.now() + seconds * 1000;
  view.insertBefore(note, button);
  const tick = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    button.toggleAttribute("disabled", left > 0);
    note.textContent = left > 0 ? t("failure_wait", { n: left }) : "";
    if (left > 0) setTimeout(tick, 500);
  };
  tick();
}
