/** The key's field. */

import { one } from "./elements.js";
import { t } from "./i18n.js";
import { apiKey, isUsableKey } from "./storage.js";

/** @type {Parameters<typeof t>[0] | null} what is wrong with the key, as far as is known */
let fault = null;

/** @param {() => Promise<any>} check asks the server for something; gives the failure, or null */
export function startKeyForm(check) {
  const field = one("#key");
  const remember = one("#key-remember");
  field.value = apiKey.get();
  remember.checked = apiKey.isRemembered();
  one("#key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (use()) tryKey();
  });
  // Whoever types a key and goes on to the headline means it to be used.
  field.addEventListener("change", () => use() && tryKey());
  remember.addEventListener("change", () => use());
  one("#key-forget").addEventListener("click", () => {
    apiKey.forget();
    field.value = "";
    remember.checked = false;
    tryKey();
  });
  document.addEventListener("redraw", say);
  tryKey();

  async function tryKey() {
    const key = apiKey.get();
    fault = null;
    say();
    const failure = await check();
    if (key !== apiKey.get()) return; // changed meanwhile: another check is under way
    if (failure?.status === 401) fault = key ? "key_wrong" : "key_needed";
    say();
  }

  function use() {
    const key = field.value.trim();
    fault = key === "" || isUsableKey(key) ? null : "key_unusable";
    if (!fault && key) apiKey.set(key, remember.checked);
    if (!fault && !key) apiKey.forget();
    say();
    return !fault;
  }
}

function say() {
  one("#key").setAttribute("aria-invalid", String(fault !== null && fault !== "key_needed"));
  const name = fault ?? (!apiKey.get() ? "key_none" : apiKey.isRemembered() ? "key_kept" : "key_session");
  one("#key-status").textContent = t(name);
  one("#key-status").classList.toggle("over", fault !== null);
}

/** After a 401: the field is where to go. */
export function askForKey() {
  const field = one("#key");
  fault = apiKey.get() ? "key_wrong" : "key_needed";
  say();
  field.focus();
  field.select();
}
