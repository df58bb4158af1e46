/** How long a pair has been in front of somebody: the time that the page was visible. */
export class Stopwatch {
  #before = 0; // milliseconds
  /** @type {number | null} when it last went on; null: the page is hidden */
  #since = null;

  constructor() {
    document.addEventListener("visibilitychange", () => {
      this.#before = this.seconds() * 1000;
      this.#since = document.hidden ? null : performance.now();
    });
  }

  /** @param {number} seconds spent before */
  start(seconds) {
    this.#before = seconds * 1000;
    this.#since = document.hidden ? null : performance.now();
  }

  /** @returns {number} */
  seconds() {
    const now = this.#since === null ? 0 : performance.now() - this.#since;
    return Math.round((this.#before + now) / 100) / 10;
  }
}
