/** Asking the server that the page came from: answers, streams of events, and failures of one shape. */

import { apiKey } from "./storage.js";
import { EventParser } from "./sse.js";

// The server sends a comment every 10 s; a line on which nothing has passed for this long is dead.
const SILENCE_MS = 45_000;

/**
 * kind "server": the server's own error body. "foreign": an answer that is not FinTunnel's, such as a tunnel's page.
 * "unreachable": no answer. "interrupted": an answer that broke off.
 */
export class Failure extends Error {
  /**
   * @param {"server" | "foreign" | "unreachable" | "interrupted"} kind
   * @param {{status?: number, message?: string, code?: string, request_id?: string, retryAfter?: number}} [details]
   *     retryAfter in seconds
   */
  constructor(kind, details = {}) {
    super(details.message ?? kind);
    this.kind = kind;
    this.status = details.status ?? null;
    this.code = details.code ?? null;
    this.requestId = details.request_id ?? null;
    this.retryAfter = details.retryAfter ?? null;
  }
}

/**
 * @param {string} path @param {object} [body] posts it; without one it is a GET @param {AbortSignal} [signal]
 * @returns {Promise<any>} the answer's JSON
 * @throws {Failure} and the signal's AbortError
 */
export async function ask(path, body, signal) {
  const response = await send(path, body, signal);
  try {
    return await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Failure(error instanceof SyntaxError ? "foreign" : "interrupted", { status: response.status });
  }
}

/**
 * The events of POST /analyze/stream up to `done`.
 * @param {object} request @param {AbortSignal} signal
 * @returns {AsyncGenerator<{event: string, data: any}>} data parsed
 * @throws {Failure} and the signal's AbortError
 */
export async function* analysisEvents(request, signal) {
  const response = await send("/analyze/stream", request, signal);
  if (!response.body || !response.headers.get("content-type")?.startsWith("text/event-stream")) {
    throw new Failure("foreign", { status: response.status });
  }
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  try {
    for (;;) {
      const { done, value } = await orSilence(reader.read());
      if (done) throw new Failure("interrupted");
      for (const { event, data } of parser.feed(decoder.decode(value, { stream: true }))) {
        const parsed = JSON.parse(data);
        if (event === "error") throw new Failure("server", parsed.error);
        yield { event, data: parsed };
        if (event === "done") return;
      }
    }
  } catch (error) {
    if (error instanceof Failure || signal.aborted) throw error;
    throw new Failure("interrupted");
  } finally {
    reader.cancel().catch(() => {}); // closes the connection; the server then ends its work
  }
}

/** @param {string} path @param {object} [body] @param {AbortSignal} [signal] @returns {Promise<Response>} one with an OK */
async function send(path, body, signal) {
  // The last header: ngrok's free plan shows browsers a page of its own without it.
  const headers = new Headers({ "ngrok-skip-browser-warning": "1" });
  if (apiKey.get()) headers.set("Authorization", `Bearer ${apiKey.get()}`);
  if (body) headers.set("Content-Type", "application/json");
  let response;
  try {
    response = await fetch(path, {
      method: body ? "POST" : "GET",
      headers,
      body: body && JSON.stringify(body),
      signal,
      cache: "no-store",
      credentials: "same-origin",
      redirect: "error",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Failure("unreachable");
  }
  if (response.ok) return response;
  const wait = Number(response.headers.get("retry-after"));
  const details = { status: response.status, retryAfter: wait > 0 ? wait : undefined };
  const answer = await response.json().catch(() => null);
  if (typeof answer?.error?.message !== "string") throw new Failure("foreign", details);
  throw new Failure("server", { ...answer.error, ...details });
}

/** @template T @param {Promise<T>} reading @returns {Promise<T>} */
async function orSilence(reading) {
  let timer;
  const silence = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Failure("interrupted")), SILENCE_MS);
  });
  try {
    return await Promise.race([reading, silence]);
  } finally {
    clearTimeout(timer);
  }
}
