/** Radio groups that look like buttons: the four scales of an answer, and the verdict. */

import { element, one } from "/page/elements.js";
import { t } from "/page/i18n.js";

export const SCALES = ["wording", "reasoning", "faithfulness", "usefulness"];
const SCORES = ["1", "2", "3", "4", "5"];
const VERDICTS = ["left", "equal", "right"];

/** @param {"left" | "right"} side @returns {HTMLElement} */
export function scalesOf(side) {
  const rows = SCALES.map((scale) => {
    const id = `${side}-${scale}-name`;
    const scores = SCORES.map((score) => choice(`${side}.${scale}`, score, score));
    return element(
      "div",
      { class: "scale" },
      element("span", { id, "data-i18n": scale }),
      element("div", { class: "choice scores", role: "radiogroup", "aria-labelledby": `${id} ${side}-name` }, ...scores),
    );
  });
  const heading = element("h3", {}, element("span", { "data-i18n": `scores_${side}` }), element("span", { class: "hint", "data-i18n": "score_ends" }));
  return element("section", { class: "scales" }, heading, ...rows);
}

/** @returns {HTMLElement[]} */
export function verdictChoices() {
  return VERDICTS.map((verdict, index) => {
    const made = choice("verdict", verdict, "");
    one("span", made).setAttribute("data-i18n", `verdict_${verdict}`);
    made.append(element("kbd", { "aria-hidden": "true" }, String(index + 1)));
    return made;
  });
}

/** @param {string} name @param {string} value @param {string} text */
function choice(name, value, text) {
  return element("label", {}, element("input", { type: "radio", name, value, class: "hidden-radio" }), element("span", {}, text));
}

/** A score that is chosen once more, or deleted, is none again: scales may be left out. @param {HTMLFormElement} form */
export function letScoresBeTakenBack(form) {
  let before = null; // what was chosen when the pointer went down: the click itself comes too late to know
  const take = (radio) => {
    radio.checked = false;
    form.dispatchEvent(new Event("change"));
  };
  form.addEventListener("pointerdown", ({ target }) => {
    before = target.closest(".scores label")?.querySelector("input:checked") ?? null;
  });
  form.addEventListener("click", ({ target }) => {
    if (target === before && target.checked) take(target);
  });
  form.addEventListener("keydown", (event) => {
    const isScore = event.target.matches(".scores input:checked");
    if (isScore && (event.key === "Delete" || event.key === "Backspace")) {
      event.preventDefault();
      take(event.target);
    }
  });
}

/** @param {HTMLFormElement} form @returns {{verdict: string | null, left: object, right: object}} */
export function chosen(form) {
  const value = (name) => form.elements.namedItem(name).value;
  const scores = (side) => {
    const given = SCALES.map((scale) => [scale, value(`${side}.${scale}`)]).filter(([, score]) => score !== "");
    return Object.fromEntries(given.map(([scale, score]) => [scale, Number(score)]));
  };
  return { verdict: value("verdict") || null, left: scores("left"), right: scores("right") };
}

/** @param {HTMLFormElement} form @param {any} rating as `chosen` gives it; null chooses nothing */
export function choose(form, rating) {
  form.reset();
  if (!rating) return;
  form.elements.namedItem("verdict").value = rating.verdict ?? "";
  for (const side of ["left", "right"]) {
    for (const [scale, score] of Object.entries(rating[side])) form.elements.namedItem(`${side}.${scale}`).value = String(score);
  }
}

/** @param {KeyboardEvent} event @param {HTMLFormElement} form @returns {boolean} whether a digit chose something */
export function chooseByDigit(event, form) {
  const scale = event.target.closest?.(".scores");
  const within = scale ?? one("#verdict", form);
  const radio = within.querySelectorAll("input")[Number(event.key) - 1];
  if (!/^[1-5]$/.test(event.key) || !radio) return false;
  radio.checked = true;
  radio.focus();
  form.dispatchEvent(new Event("change"));
  return true;
}
