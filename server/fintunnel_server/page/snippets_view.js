/** The request of a form as code, beside a button that copies it. */

import { element, fillSelect, one } from "./elements.js";
import { t } from "./i18n.js";
import { chosenModels, forModel } from "./models.js";
import { SNIPPETS } from "./snippets.js";

/** @param {HTMLDetailsElement} details @param {import("./analysis_panel.js").RequestForm} requestForm */
export function startSnippets(details, requestForm) {
  const select = element("select");
  const name = element("span");
  const code = element("code");
  const copy = element("button", { type: "button", click: copyCode });
  const note = element("p", { class: "hint" });
  const said = element("span", { class: "hint", role: "status" });
  fillSelect(select, Object.keys(SNIPPETS).map((each) => [each, each]));
  one("div", details).append(
    element("div", { class: "actions" }, element("label", {}, name, select), copy, said),
    element("pre", { tabindex: "0" }, code),
    note,
  );
  details.addEventListener("toggle", draw);
  select.addEventListener("change", draw);
  requestForm.form.addEventListener("input", draw);
  one("#model").addEventListener("change", draw);
  document.addEventListener("redraw", draw);
  draw();

  function draw() {
    name.textContent = t("snippet_language");
    copy.textContent = t("copy");
    note.textContent = t("snippet_key");
    said.textContent = "";
    if (!details.open) return;
    const request = requestForm.read(false);
    copy.disabled = !request;
    const model = chosenModels().at(-1);
    code.textContent = request ? SNIPPETS[select.value](location.origin, forModel(request, model)) : "…";
  }

  async function copyCode() {
    try {
      await navigator.clipboard.writeText(code.textContent); // only on https and on this machine
      said.textContent = t("copied");
    } catch {
      getSelection()?.selectAllChildren(code);
      said.textContent = t(document.execCommand("copy") ? "copied" : "copy_failed");
    }
  }
}
