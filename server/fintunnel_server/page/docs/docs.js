/** Swagger UI with the page's key: the document and every request that is tried out carry it, to this server only. */

import { ask, Failure } from "/page/api.js";
import { apiKey, isUsableKey } from "/page/storage.js";

const field = document.querySelector("#key");
const status = document.querySelector("#status");

field.value = apiKey.get();
document.querySelector("#key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = field.value.trim();
  if (key && !isUsableKey(key)) {
    say("密钥只能由英文字母、数字和符号组成。A key holds ASCII letters, digits and symbols only.");
    return;
  }
  if (key) apiKey.set(key, apiKey.isRemembered());
  else apiKey.forget();
  show();
});
show();

async function show() {
  say("读取接口说明…… Loading …");
  let spec;
  try {
    spec = await ask("/openapi.json");
  } catch (error) {
    const unauthorised = error instanceof Failure && error.status === 401;
    say(unauthorised ? "请填入密钥。Please enter the API key." : `读取失败，请重试。Failed: ${error.message}`);
    if (unauthorised) field.focus();
    return;
  }
  say("");
  window.SwaggerUIBundle({
    spec,
    dom_id: "#swagger",
    validatorUrl: null, // else the document's address would go to a service on the internet
    deepLinking: false,
    showMutatedRequest: false, // the curl line that it shows is without the key
    requestInterceptor: withKey,
  });
}

/** @param {{url: string, headers: Record<string, string>}} request @returns {object} */
function withKey(request) {
  const own = new URL(request.url, location.href).origin === location.origin;
  if (own && apiKey.get()) request.headers.Authorization = `Bearer ${apiKey.get()}`;
  if (own) request.headers["ngrok-skip-browser-warning"] = "1";
  return request;
}

/** @param {string} text */
function say(text) {
  status.textContent = text;
}
