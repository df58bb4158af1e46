/** Which model answers, and which one it is compared with. */

import { ask } from "./api.js";
import { fillSelect, one } from "./elements.js";
import { t } from "./i18n.js";

const DEFAULT = "fintunnel"; // the server's name of its default model
const NONE = ""; // compared with nothing

/** @type {string[]} */
let names = [DEFAULT];

export function startModels() {
  document.addEventListener("redraw", draw);
  draw();
}

/**
 * Asks the server for its models. A failure leaves what was known.
 * @returns {Promise<unknown>} the failure, or null
 */
export async function loadModels() {
  try {
    const answer = await ask("/v1/models");
    const ids = answer.data.map((model) => String(model.id));
    names = [DEFAULT, ...ids.filter((id) => id !== DEFAULT)];
  } catch (error) {
    return error;
  }
  draw();
  return null;
}

function draw() {
  const options = names.map((name) => [name, modelTitle(name)]);
  fillSelect(one("#model"), options);
  fillSelect(one("#compare"), [[NONE, t("compare_none")], ...options]);
}

/** @param {string} name @returns {string} */
export function modelTitle(name) {
  if (name === DEFAULT) return t("model_default");
  return name === "base" ? t("model_base") : name;
}

/** @returns {string[]} the models to ask: the one compared with first, the chosen one last */
export function chosenModels() {
  const [model, other] = [one("#model").value, one("#compare").value];
  return other === NONE || other === model ? [model] : [other, model];
}

/** @template {object} R @param {R} request @param {string} name @returns {R} the request to that model */
export function forModel(request, name) {
  return name === DEFAULT ? request : { ...request, adapter: name };
}
