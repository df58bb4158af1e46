/** What this browser keeps. Where it keeps nothing (private windows, blocked storage), memory does for the visit. */

const KEY = "fintunnel.key";
const memory = new Map();

/** @param {string} name @returns {string | null} */
export function read(name) {
  try {
    return memory.get(name) ?? localStorage.getItem(name);
  } catch {
    return memory.get(name) ?? null;
  }
}

/** @param {string} name @param {string} value @returns {boolean} whether it will be there after a reload */
export function write(name, value) {
  try {
    localStorage.setItem(name, value);
    memory.delete(name);
    return true;
  } catch {
    memory.set(name, value);
    return false;
  }
}

/** The API key: for this tab, or on request for later visits too. It goes nowhere but into `Authorization`. */
export const apiKey = {
  /** @returns {string} empty where there is none */
  get() {
    try {
      return sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? memory.get(KEY) ?? "";
    } catch {
      return memory.get(KEY) ?? "";
    }
  },
  /** @returns {boolean} */
  isRemembered() {
    return read(KEY) !== null && !memory.has(KEY);
  },
  /** @param {string} key @param {boolean} remember */
  set(key, remember) {
    this.forget();
    try {
      (remember ? localStorage : sessionStorage).setItem(KEY, key);
    } catch {
      memory.set(KEY, key);
    }
  },
  forget() {
    memory.delete(KEY);
    try {
      sessionStorage.removeItem(KEY);
      localStorage.removeItem(KEY);
    } catch {
      // it kept nothing
    }
  },
};

/** @param {string} key @returns {boolean} whether a header can carry it */
export function isUsableKey(key) {
  return /^[\x21-\x7e]+$/.test(key);
}
