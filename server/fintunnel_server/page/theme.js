// Runs before the page is drawn, so that nobody sees the other theme flash. Without a choice the system decides.
"use strict";
(() => {
  const root = document.documentElement;
  const stored = () => {
    try {
      return localStorage.getItem("fintunnel.theme");
    } catch {
      return null; // a browser that keeps nothing
    }
  };
  const chosen = stored();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;

  addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme")?.addEventListener("click", () => {
      const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
      root.dataset.theme = (root.dataset.theme ?? system) === "dark" ? "light" : "dark";
      try {
        localStorage.setItem("fintunnel.theme", root.dataset.theme);
      } catch {
        // for this visit only
      }
    });
  });
})();
