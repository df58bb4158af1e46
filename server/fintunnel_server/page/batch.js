/** Many headlines, in chunks that grow while the server is quick and shrink where it is slow. */

import { ask, Failure } from "./api.js";

const MAX_ITEMS = 64; // of the route
const MAX_BYTES = 200_000; // a tenth of what the server takes by default
const FIRST_ITEMS = 8;
const [QUICK_MS, SLOW_MS] = [4_000, 15_000]; // proxies give up on an answer after a minute or two
const TRIES_WHEN_BUSY = 8;

/**
 * @param {object[]} requests
 * @param {{signal: AbortSignal, result: (index: number, result: {analysis?: any, error?: any}) => void,
 *     waiting: (seconds: number) => void}} watch
 * @throws {Failure} a chunk that failed as a whole; and the signal's AbortError
 */
export async function runBatch(requests, { signal, result, waiting }) {
  let size = FIRST_ITEMS;
  let busy = 0;
  for (let begin = 0; begin < requests.length; ) {
    const items = chunk(requests, begin, size);
    const began = performance.now();
    let answer;
    try {
      answer = await ask("/analyze/batch", { items }, signal);
    } catch (error) {
      if (error instanceof Failure && [413, 422].includes(error.status) && items.length > 1) {
        size = items.length >> 1; // more than its operator lets one request hold, in bytes or in items
        continue;
      }
      if (!(error instanceof Failure && error.status === 429) || ++busy === TRIES_WHEN_BUSY) throw error;
      size = Math.max(size >> 1, 1); // each item counts against a rate that may be below a whole chunk
      const seconds = error.retryAfter ?? 2;
      waiting(seconds);
      await pause(seconds * 1000, signal);
      continue;
    }
    busy = 0;
    if (answer.results?.length !== items.length) throw new Failure("foreign", { status: 200 });
    answer.results.forEach((each, index) => result(begin + index, each));
    begin += items.length;
    const took = performance.now() - began;
    if (took < QUICK_MS) size = Math.min(size * 2, MAX_ITEMS);
    else if (took > SLOW_MS) size = Math.max(size >> 1, 1);
  }
}

/** @param {object[]} requests @param {number} begin @param {number} size @returns {object[]} at least one */
function chunk(requests, begin, size) {
  const encoder = new TextEncoder();
  let [end, bytes] = [begin, 0];
  while (end < requests.length && end - begin < size) {
    bytes += encoder.encode(JSON.stringify(requests[end])).length + 1;
    if (end > begin && bytes > MAX_BYTES) break;
    end += 1;
  }
  return requests.slice(begin, end);
}

/** @param {number} milliseconds @param {AbortSignal} signal @returns {Promise<void>} */
function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
