/** Building the page's parts. Text only ever becomes text nodes, so that nothing a server or a model says is markup. */

/**
 * @param {string} tag
 * @param {Record<string, string | boolean | EventListener>} [attributes] functions are listeners: `{click: …}`;
 *     true is an attribute without a value, false none
 * @param {...(Node | string | null)} children
 * @returns {HTMLElement}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** @param {string} selector @param {ParentNode} [within] @returns {any} the one element that it finds */
export function one(selector, within = document) {
  const found = within.querySelector(selector);
  if (!found) throw new Error(`no ${selector} in the page`);
  return found;
}

/** @param {HTMLSelectElement} select @param {[string, string][]} options value and text; a choice that is still there stays */
export function fillSelect(select, options) {
  const chosen = select.value;
  select.replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
  if (options.some(([value]) => value === chosen)) select.value = chosen;
}

/** @param {string} name @param {string} content @param {string} type */
export function download(name, content, type) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
