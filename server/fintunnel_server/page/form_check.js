/** What is wrong in a form, in the page's language: the browser would say it in its own. */

import { one } from "./elements.js";
import { t } from "./i18n.js";

/** @typedef {{field: HTMLInputElement, message: string}} Fault */

/** @param {HTMLFormElement} form @returns {Fault | null} the first fault; data-max is a length in characters */
export function firstFault(form) {
  for (const field of form.querySelectorAll("input, textarea, select")) {
    const values = { field: one("span", field.labels[0]).textContent, n: field.dataset.max ?? 0 };
    if (field.required && field.type !== "checkbox" && !field.value.trim() && !field.validity.badInput) {
      return { field, message: t("missing", values) };
    }
    if (field.dataset.max && length(field.value) > Number(field.dataset.max)) {
      return { field, message: t("too_long", values) };
    }
    if (!field.checkValidity()) return { field, message: t("not_allowed", values) };
  }
  return null;
}

/** @param {Fault | null} fault @param {HTMLFormElement} form shows it and takes the reader there; null clears */
export function showFault(fault, form) {
  for (const marked of form.querySelectorAll("[aria-invalid]")) marked.removeAttribute("aria-invalid");
  if (!fault) return;
  const folded = fault.field.closest("details");
  if (folded) folded.open = true;
  fault.field.setAttribute("aria-invalid", "true");
  fault.field.focus();
  one(".status", form).textContent = fault.message;
}

/** @param {string} text @returns {number} characters as the server counts them */
export function length(text) {
  return [...text].length;
}
