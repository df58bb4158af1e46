/** A news analysis as labels, bars and signals. */

import { element } from "./elements.js";
import { t } from "./i18n.js";

export const FIELDS = { impact: ["low", "medium", "high"], direction: ["bearish", "neutral", "bullish"] };
const SIGNALS = ["priced_in", "wait_and_see"];

/**
 * @param {any} analysis @param {any} other the analysis that it is compared with, or null
 * @returns {HTMLElement[]}
 */
export function newsView(analysis, other) {
  const fields = Object.entries(FIELDS).map(([name, labels]) => {
    const changed = other && other[name] !== analysis[name];
    const badge = element("strong", { class: `label ${name} ${analysis[name]}${changed ? " changed" : ""}` });
    badge.textContent = t(analysis[name]);
    const given = analysis[`${name}_probs`];
    const bars = labels.map((label) =>
      bar(t(label), given?.[label], { kind: `${name} ${label}`, chosen: analysis[name] === label, before: other?.[`${name}_probs`]?.[label] }),
    );
    return field(t(name), badge, given ? bars : null);
  });
  return [...fields, signalsView(analysis, other), meaning(analysis)];
}

/** @param {any} analysis @param {any} other @returns {HTMLElement} */
function signalsView(analysis, other) {
  if (!analysis.signals) return element("h3", {}, element("span", {}, t("signals")), element("span", { class: "hint" }, t("no_signals")));
  const badges = SIGNALS.map((name) => {
    const on = analysis.signals.includes(name);
    const text = t("pair", { name: t(name), value: t(on ? "signal_yes" : "signal_no") });
    return element("span", { class: `label signal ${on ? "on" : "off"}` }, text);
  });
  const given = analysis.signal_probs;
  const bars = SIGNALS.map((name) =>
    bar(t(name), given?.[name], { kind: "signal", chosen: analysis.signals.includes(name), before: other?.signal_probs?.[name] }),
  );
  return field(t("signals"), element("span", { class: "badges" }, ...badges), given ? bars : null);
}

/** @param {string} title @param {HTMLElement} badge @param {HTMLElement[] | null} bars null: there are no probabilities */
function field(title, badge, bars) {
  const below = bars ? element("ul", { class: "bars" }, ...bars) : element("p", { class: "hint" }, t("no_probabilities"));
  return element("section", { class: "field" }, element("h3", {}, element("span", {}, title), badge), below);
}

/**
 * @param {string} name @param {number} probability
 * @param {{kind: string, chosen: boolean, before?: number}} look before: the same of the other analysis
 */
function bar(name, probability, { kind, chosen, before }) {
  const fill = element("span", { class: `fill ${kind}` });
  fill.style.width = `${(probability ?? 0) * 100}%`;
  const delta = before === undefined ? null : (probability - before) * 100;
  return element(
    "li",
    chosen ? { class: "chosen" } : {},
    element("span", { class: "name" }, name),
    element("span", { class: "track", "aria-hidden": "true" }, fill),
    element("span", { class: "value" }, `${((probability ?? 0) * 100).toFixed(1)}%`),
    delta === null ? null : element("span", { class: "delta", title: t("points", { value: signed(delta) }) }, signed(delta)),
  );
}

/** @param {number} value @returns {string} */
function signed(value) {
  const text = Math.abs(value).toFixed(1);
  return text === "0.0" ? "±0.0" : `${value < 0 ? "−" : "+"}${text}`;
}

/** @param {any} analysis */
function meaning({ edges, horizon_min: horizon }) {
  const text = edges
    ? t("meaning_text", { horizon, i0: edges.impact[0], i1: edges.impact[1], d0: edges.direction[0], d1: edges.direction[1] })
    : t("meaning_unknown", { horizon });
  return element("details", { class: "meaning" }, element("summary", {}, t("meaning")), element("p", { class: "hint" }, text));
}

/** @param {any} before @param {any} after two analyses @returns {HTMLElement[]} what differs, field by field */
export function differences(before, after) {
  return Object.keys(FIELDS).map((name) => {
    const same = before[name] === after[name];
    const values = { field: t(name), value: t(after[name]), before: t(before[name]), after: t(after[name]) };
    return element("li", { class: same ? "same" : "different" }, t(same ? "same" : "different", values));
  });
}
