/** The tabs, as the ARIA pattern has them: arrows move, only the chosen one is in the tab order. */

import { one } from "./elements.js";

const tabs = () => /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[role=tab]")]);

export function startTabs() {
  for (const tab of tabs()) tab.addEventListener("click", () => openTab(tab.getAttribute("aria-controls")));
  one("[role=tablist]").addEventListener("keydown", (event) => {
    const all = tabs();
    const at = all.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = all[(to + all.length) % all.length];
    openTab(next.getAttribute("aria-controls"));
    next.focus();
  });
  openTab("news");
}

/** @param {string} name of its panel */
export function openTab(name) {
  for (const tab of tabs()) {
    const chosen = tab.getAttribute("aria-controls") === name;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    one(`#${tab.getAttribute("aria-controls")}`).hidden = !chosen;
  }
}
