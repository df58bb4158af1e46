/** What was asked and answered, kept in this browser alone. No key is ever among it. */

import { ANSWER_COLUMNS, answerCells, toCsv } from "./csv.js";
import { read, write } from "./storage.js";

const STORED = "fintunnel.history";
const LIMIT = 200;

/**
 * @typedef {{model: string, answer: any, times: {trip: number, first: number | null}}} Answered times in ms
 * @typedef {{id: string, at: string, request: any, answers: Answered[]}} Entry
 */

/** @returns {Entry[]} the newest first */
export function entries() {
  try {
    const stored = JSON.parse(read(STORED) ?? "[]");
    return Array.isArray(stored) ? stored.filter((entry) => entry?.request && entry.answers?.length) : [];
  } catch {
    return []; // written by something else
  }
}

/** @param {{request: any, answers: Answered[]}} asked @returns {boolean} false where the browser has no room for it */
export function keep(asked) {
  const id = [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const all = [{ id, at: new Date().toISOString(), ...asked }, ...entries()];
  // Where the storage is full, half of what is old goes.
  for (let room = LIMIT; room >= 1; room >>= 1) {
    if (store(all.slice(0, room))) return true;
  }
  return false;
}

/** @param {string} id */
export function remove(id) {
  store(entries().filter((entry) => entry.id !== id));
}

export function clear() {
  store([]);
}

/** @param {Entry[]} list @returns {boolean} */
function store(list) {
  const done = write(STORED, JSON.stringify(list));
  document.dispatchEvent(new Event("history"));
  return done;
}

/** @returns {string} */
export function historyJson() {
  return JSON.stringify(entries(), null, 2);
}

/** @returns {string} one line for each model's answer */
export function historyCsv() {
  const lines = entries().flatMap(({ at, request, answers }) =>
    answers.map(({ model, answer, times }) => [
      at,
      request.task,
      request.text ?? request.question,
      model,
      Math.round(times.trip),
      ...answerCells(answer),
    ]),
  );
  return toCsv([["at", "task", "asked", "model", "round_trip_ms", ...ANSWER_COLUMNS], ...lines]);
}
