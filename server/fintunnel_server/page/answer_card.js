/** One model's answer on the page, from the first event to the last. */

import { diffTexts } from "./diff.js";
import { element } from "./elements.js";
import { failureView } from "./failure_view.js";
import { t } from "./i18n.js";
import { modelTitle } from "./models.js";
import { newsView } from "./news_view.js";
import { citationsView } from "./report_view.js";

export class AnswerCard {
  /** @param {any} request @param {string} model */
  constructor(request, model) {
    this.request = request;
    this.model = model;
    this.element = element("article", { class: "card answer" });
    /** @type {any} the latest that the server gave */
    this.answer = null;
    this.text = "";
    /** @type {"waiting" | "running" | "done" | "stopped" | "failed"} */
    this.state = "waiting";
    /** @type {{trip: number, first: number | null} | null} ms until the whole answer, and until its first text */
    this.times = null;
    /** @type {AnswerCard | null} the card that this one is compared with */
    this.other = null;
    /** @type {AnswerCard | null} the card beside it, whichever of the two is compared with the other */
    this.partner = null;
    this.written = element("p");
    /** @type {{error: unknown, retry: () => void} | null} */
    this.failure = null;
    this.#draw();
  }

  /** @param {any} analysis labels or citations, no text yet */
  begin(analysis) {
    this.answer = analysis;
    this.state = "running";
    this.#draw();
  }

  /** @param {string} piece */
  addText(piece) {
    this.text += piece;
    this.written.append(piece);
  }

  /** @param {any} answer @param {{trip: number, first: number | null}} times */
  finish(answer, times) {
    this.answer = answer;
    this.text = answer.rationale ?? answer.answer ?? "";
    this.times = times;
    this.state = "done";
    this.#draw();
  }

  stop() {
    this.state = "stopped";
    this.#draw();
  }

  /** @param {unknown} error @param {() => void} retry */
  fail(error, retry) {
    this.state = "failed";
    this.failure = { error, retry };
    this.#draw();
  }

  /** Again, in the language of now and beside the other card as it is now. */
  redraw() {
    this.#draw();
  }

  #draw() {
    const parts = [element("header", {}, element("h2", {}, modelTitle(this.model)), this.#badges())];
    if (this.answer) {
      const isNews = this.answer.task === "news";
      const before = this.other?.answer ?? null;
      parts.push(...(isNews ? newsView(this.answer, before) : citationsView(this.answer, this.request)));
      const heading = element("h3", {}, t(isNews ? "rationale" : "answer"));
      parts.push(element("section", { class: "field" }, heading, this.#text()));
    } else if (this.state === "waiting") {
      parts.push(element("p", { class: "hint pulse" }, t("waiting")));
    }
    if (this.state === "stopped") parts.push(element("p", { class: "hint" }, t("stopped")));
    if (this.failure) parts.push(failureView(this.failure.error, this.failure.retry));
    if (this.state === "done") parts.push(this.#costs());
    this.element.replaceChildren(...parts);
    this.element.setAttribute("aria-busy", String(this.state === "waiting" || this.state === "running"));
    this.element.dataset.state = this.state;
  }

  #badges() {
    const badges = element("span", { class: "badges" });
    if (this.answer?.task === "news" && this.answer.impact_probs) {
      badges.append(element("span", { class: "badge" }, t(this.answer.calibrated ? "calibrated" : "uncalibrated")));
    }
    if (this.answer?.truncated) badges.append(element("span", { class: "badge warning" }, t("truncated")));
    return badges;
  }

  #text() {
    const asked = this.answer.rationale ?? this.answer.answer;
    this.written = element("p", { class: "written", lang: "zh-CN" });
    if (this.state === "done" && (asked === null || asked === undefined)) {
      this.written.append(element("span", { class: "hint" }, t("no_rationale")));
    } else if (this.partner?.state === "done" && this.state === "done") {
      const [mine, theirs] = [this.text, this.partner.text];
      const segments = this.other ? diffTexts(theirs, mine).after : diffTexts(mine, theirs).before;
      this.written.append(...segments.map(({ text, changed }) => (changed ? element("mark", {}, text) : text)));
    } else {
      this.written.append(this.text);
    }
    return this.written;
  }

  #costs() {
    const { answer, times } = this;
    const server = answer.timing_ms;
    const values = { queue: ms(server.queue), model: ms(server.model), total: ms(server.total), trip: ms(times.trip) };
    const timing = t("timing", values) + (times.first === null ? "" : ` · ${t("first_token", { first: ms(times.first) })}`);
    const { prompt_tokens: prompt, completion_tokens: completion } = answer.usage;
    const name = `${answer.model.base}${answer.model.adapter ? ` + ${answer.model.adapter}` : ""}`;
    return element(
      "footer",
      {},
      element("p", {}, ...unbroken(timing)),
      element("p", {}, ...unbroken(`${t("tokens", { prompt, completion })} · ${name}`)),
      element("p", {}, answer.id),
    );
  }
}

/** @param {string} line parts between dots @returns {(Node | string)[]} no line break within a part */
function unbroken(line) {
  return line.split(" · ").flatMap((part, index) => [index ? " · " : "", element("span", {}, part)]);
}

/** @param {number} value @returns {string} */
function ms(value) {
  return value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(2)} s`;
}
