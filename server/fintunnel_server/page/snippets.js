/** The request as code that others run. It names the environment variable of the key, never the key. */

/** @type {Record<string, (url: string, request: object) => string>} url: of the server, such as https://example.org */
export const SNIPPETS = {
  "curl (bash)": curl,
  "Python · fintunnel": pythonClient,
  "Python · httpx": pythonHttpx,
  PowerShell: powershell,
};

/** @param {string} url @returns {boolean} a proxy from the environment does not lead back to this machine */
function isLoopback(url) {
  return /^https?:\/\/(127\.|localhost[:/]|localhost$|\[::1\])/.test(url);
}

/** @param {string} text @returns {string} between single quotes bash reads nothing but the next one */
function bashQuoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** @param {string} url @returns {boolean} ngrok shows browsers, and what calls itself one, a page of its own first */
function isNgrok(url) {
  return /\.ngrok(-free)?\.(dev|app|io)(:\d+)?$/.test(url);
}

function curl(url, request) {
  return [
    `curl -sS ${isLoopback(url) ? "--noproxy '*' " : ""}${bashQuoted(`${url}/analyze`)} \\`,
    `  -H "Authorization: Bearer $FINTUNNEL_API_KEY" \\`,
    `  -H 'Content-Type: application/json' \\`,
    `  --data-binary ${bashQuoted(JSON.stringify(request))}`,
  ].join("\n");
}

/** @param {any} value JSON @param {string} indent @returns {string} A string literal of JSON is one of Python. */
function pythonLiteral(value, indent = "") {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}    `;
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const items = Array.isArray(value)
    ? value.map((item) => pythonLiteral(item, inner))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${pythonLiteral(item, inner)}`);
  return `${open}\n${items.map((item) => `${inner}${item},\n`).join("")}${indent}${close}`;
}

function pythonClient(url, request) {
  const type = request.task === "news" ? "NewsRequest" : "ReportRequest";
  return `import os

from fintunnel import DeepSeekClient, ${type}

client = DeepSeekClient(
    backend="finetuned",
    url=${JSON.stringify(url)},
    api_key=os.environ["FINTUNNEL_API_KEY"],
)
request = ${type}.model_validate(${pythonLiteral(request)})
answer = client.analyze(request)
print(answer.model_dump_json(indent=2))
`;
}

function pythonHttpx(url, request) {
  return `import os

import httpx

response = httpx.post(
    ${JSON.stringify(`${url}/analyze`)},
    headers={"Authorization": f"Bearer {os.environ['FINTUNNEL_API_KEY']}"},
    json=${pythonLiteral(request, "    ")},
    timeout=120,${isLoopback(url) ? "\n    trust_env=False,  # no proxy to this machine" : ""}
)
response.raise_for_status()
print(response.text)
`;
}

/**
 * In a single-quoted here-string nothing is special but a line that begins with '@, and JSON is one line that begins
 * with {. Bytes both ways: Windows PowerShell would send and read text in other encodings than UTF-8.
 */
function powershell(url, request) {
  return `$body = @'
${JSON.stringify(request)}
'@
$request = @{
    Uri = '${url}/analyze'
    Method = 'Post'
    Headers = @{ Authorization = "Bearer $env:FINTUNNEL_API_KEY"${isNgrok(url) ? "; 'ngrok-skip-browser-warning' = '1'" : ""} }
    ContentType = 'application/json; charset=utf-8'
    Body = [Text.Encoding]::UTF8.GetBytes($body)
    UseBasicParsing = $true
}
$response = Invoke-WebRequest @request
[Text.Encoding]::UTF8.GetString($response.RawContentStream.ToArray())
`;
}
