/** A form, and the answers to it as they come: of one model, or of two beside each other. */

import { AnswerCard } from "./answer_card.js";
import { analysisEvents } from "./api.js";
import { element, one } from "./elements.js";
import { keep } from "./history.js";
import { t } from "./i18n.js";
import { askForKey } from "./key_form.js";
import { chosenModels, forModel, modelTitle } from "./models.js";
import { differences } from "./news_view.js";
import { startSnippets } from "./snippets_view.js";

/** @typedef {{form: HTMLFormElement, read: (report: boolean) => object | null, fill: (request: any) => void}} RequestForm */

export class AnalysisPanel {
  /** @type {AnswerCard[]} */
  #cards = [];
  /** @type {AbortController | null} */
  #running = null;

  /** @param {HTMLElement} root @param {RequestForm} requestForm */
  constructor(root, requestForm) {
    this.#form = requestForm;
    this.#answers = one(".answers", root);
    this.#stopButton = one(".stop", root);
    this.#status = one(".status", root);
    this.#summary = element("ul", { class: "card summary" });
    requestForm.form.addEventListener("submit", (event) => {
      event.preventDefault();
      const request = requestForm.read(true);
      if (request) this.#start(request);
    });
    requestForm.form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) requestForm.form.requestSubmit();
    });
    this.#stopButton.addEventListener("click", () => this.#running?.abort());
    document.addEventListener("redraw", () => this.#redraw());
    startSnippets(one(".snippets", root), requestForm);
  }
  #form;
  #answers;
  #stopButton;
  #status;
  #summary;

  /** @param {import("./history.js").Entry} entry shows what was answered before */
  show(entry) {
    this.#running?.abort();
    this.#running = null;
    this.#stopButton.hidden = true;
    this.#form.fill(entry.request);
    this.#lay(entry.request, entry.answers.map(({ model }) => model));
    entry.answers.forEach(({ answer, times }, index) => this.#cards[index].finish(answer, times));
    this.#redraw();
    this.#status.textContent = "";
  }

  /** @param {any} request */
  async #start(request) {
    this.#running?.abort();
    const running = new AbortController();
    this.#running = running;
    const cards = this.#lay(request, chosenModels());
    const below = this.#answers.getBoundingClientRect().top > innerHeight * 0.7; // on a phone it is under the form
    if (below) this.#answers.scrollIntoView({ block: "start" });
    this.#say("running");
    this.#stopButton.hidden = false;
    await Promise.all(cards.map((card) => this.#fill(card, running.signal)));
    if (this.#running !== running) return; // another question has taken its place
    this.#running = null;
    this.#stopButton.hidden = true;
    const answered = cards.filter((card) => card.state === "done");
    const answers = answered.map(({ model, answer, times }) => ({ model, answer, times }));
    const kept = answers.length === 0 || keep({ request, answers });
    const all = answered.length === cards.length;
    this.#say(!kept ? "history_full" : all ? "done" : running.signal.aborted ? "stopped" : "failed");
    this.#redraw();
  }

  /** @param {AnswerCard} card @param {AbortSignal} signal */
  async #fill(card, signal) {
    const began = performance.now();
    let first = null;
    try {
      for await (const { event, data } of analysisEvents(forModel(card.request, card.model), signal)) {
        if (event === "analysis") {
          card.begin(data);
          this.#drawSummary();
        } else if (event === "token") {
          first ??= performance.now() - began;
          card.addText(data.text);
        } else if (event === "done") card.finish(data, { trip: performance.now() - began, first });
      }
    } catch (error) {
      if (signal.aborted) card.stop();
      else {
        card.fail(error, () => this.#start(card.request));
        if (error.status === 401) askForKey();
      }
    }
  }

  /** @param {any} request @param {string[]} models @returns {AnswerCard[]} */
  #lay(request, models) {
    this.#cards = models.map((model) => new AnswerCard(request, model));
    if (models.length === 2) {
      const [before, after] = this.#cards;
      after.other = before;
      [before.partner, after.partner] = [after, before];
    }
    this.#answers.classList.toggle("two", models.length === 2);
    this.#answers.replaceChildren(this.#summary, ...this.#cards.map((card) => card.element));
    this.#drawSummary();
    return this.#cards;
  }

  #redraw() {
    for (const card of this.#cards) card.redraw();
    this.#drawSummary();
  }

  /** What differs between two models, as soon as both have labels. */
  #drawSummary() {
    const [before, after] = this.#cards;
    this.#summary.hidden = !(after?.answer && before.answer && after.answer.task === "news");
    if (this.#summary.hidden) return;
    const names = { other: modelTitle(before.model), model: modelTitle(after.model) };
    this.#summary.replaceChildren(
      element("li", { class: "names" }, t("comparison", names)),
      ...differences(before.answer, after.answer),
    );
  }

  /** @param {Parameters<typeof t>[0]} name */
  #say(name) {
    this.#status.textContent = t(name);
  }
}
