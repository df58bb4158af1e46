/** Server-sent events out of text that arrives in pieces, cut anywhere. */

/** @typedef {{event: string, data: string}} ServerEvent */

export class EventParser {
  #rest = "";
  #afterReturn = false; // the last piece ended with \r: a \n at the beginning of the next belongs to it
  #event = "";
  /** @type {string[]} */
  #data = [];

  /** @param {string} text @returns {ServerEvent[]} the events that it completes */
  feed(text) {
    if (!text) return [];
    const skip = this.#afterReturn && text[0] === "\n" ? 1 : 0;
    this.#afterReturn = text.endsWith("\r");
    const lines = (this.#rest + text.slice(skip)).split(/\r\n|\n|\r/);
    this.#rest = lines.pop() ?? "";
    return lines.flatMap((line) => this.#line(line));
  }

  /** @param {string} line @returns {ServerEvent[]} */
  #line(line) {
    if (line === "") {
      const event = { event: this.#event || "message", data: this.#data.join("\n") };
      const whole = this.#data.length > 0;
      this.#event = "";
      this.#data = [];
      return whole ? [event] : [];
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon); // empty for a comment such as ": alive"
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#event = value;
    if (field === "data") this.#data.push(value);
    return [];
  }
}
