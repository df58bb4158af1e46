/** Who rates, one pair after the other, and the end. */

import { ask, Failure } from "/page/api.js";
import { one } from "/page/elements.js";
import { failureView } from "/page/failure_view.js";
import { switchLanguage, t, translatePage } from "/page/i18n.js";
import { read, write } from "/page/storage.js";
import { choose, chooseByDigit, chosen, letScoresBeTakenBack, scalesOf, verdictChoices } from "./choices.js";
import { answerView, questionView } from "./pair_view.js";
import { Stopwatch } from "./stopwatch.js";

const RATER = "fintunnel.rater";
const LONGEST_S = 86_400; // the server takes no more

const form = one("#pair-form");
const stopwatch = new Stopwatch();
let rater = "";
/** what the server last said: {rated, total, pair}; null before the first */
let shown = null;
/** what was chosen and not yet saved when somebody went back, by pair */
const drafts = new Map();
let busy = false;

// --- what is on the screen -----------------------------------------------------------------------------

const SCREENS = { name: ["#name-form"], pair: ["#progress", "#pair-form"], finished: ["#progress", "#finished"] };

function show(screen) {
  const visible = SCREENS[screen];
  for (const selector of new Set(Object.values(SCREENS).flat())) one(selector).hidden = !visible.includes(selector);
}

function build() {
  one("#verdict").replaceChildren(...verdictChoices());
  for (const side of ["left", "right"]) {
    const heading = document.createElement("h2");
    heading.id = `${side}-name`;
    heading.setAttribute("data-i18n", `answer_${side}`);
    const content = document.createElement("div");
    content.className = "content";
    one(`#${side}`).replaceChildren(heading, content, scalesOf(side));
  }
}

/** Everything that depends on the language or the pair; what is chosen stays as it is. */
function draw() {
  one("#language").textContent = t("other_language");
  if (!shown) return;
  const { rated, total, pair } = shown;
  one("#who").textContent = t("who", { rater });
  one("#position").textContent = pair ? t("position", { position: pair.position, total }) : t("rated", { rated, total });
  Object.assign(one("#rated"), { max: total, value: rated, title: t("rated", { rated, total }) });
  one("#thanks").textContent = t("thanks", { rater });
  one("#count").textContent = t("count", { total });
  if (!pair) return;
  one("#question").replaceChildren(...questionView(pair.question));
  for (const side of ["left", "right"]) one(".content", one(`#${side}`)).replaceChildren(...answerView(pair[side]));
  one("#back").disabled = pair.position === 1;
  nameNext();
}

function nameNext() {
  one("#next").textContent = t(shown?.pair?.rating && !isChanged() ? "forward" : "next");
}

function isChanged() {
  const { verdict, left, right } = shown.pair.rating ?? {};
  const given = chosen(form);
  const scores = (each) => JSON.stringify(Object.entries(each ?? {}).sort());
  return given.verdict !== (verdict ?? null) || scores(given.left) !== scores(left) || scores(given.right) !== scores(right);
}

/** @param {any} answer the server's */
function receive(answer) {
  shown = answer;
  one("#pair-status").textContent = "";
  choose(form, drafts.get(answer.pair?.pair) ?? answer.pair?.rating);
  show(answer.pair ? "pair" : "finished");
  draw();
  scrollTo(0, 0);
  one(answer.pair ? "#question" : "#finished").focus({ preventScroll: true });
  stopwatch.start(drafts.get(answer.pair?.pair)?.seconds ?? answer.pair?.rating?.seconds ?? 0);
}

// --- what is asked -------------------------------------------------------------------------------------

/** One at a time. A failure is shown, with what was chosen left as it is. @param {() => Promise<void>} work */
async function during(work) {
  if (busy) return;
  busy = true;
  one("#main").setAttribute("aria-busy", "true");
  try {
    await work();
    one("#failure").replaceChildren();
  } catch (error) {
    one("#failure").replaceChildren(failureView(error, () => during(work)));
    one("#failure").scrollIntoView({ block: "nearest" });
  } finally {
    busy = false;
    one("#main").removeAttribute("aria-busy");
    one("#pair-status").textContent = "";
  }
}

/** @param {number} [position] without one: the next that is not rated @returns {Promise<any>} */
function pairAt(position) {
  return ask(`/pairs${position === undefined ? "" : `/${position}`}?rater=${encodeURIComponent(rater)}`);
}

async function open(position) {
  receive(await pairAt(position));
}

async function goBack() {
  const { pair } = shown;
  if (isChanged()) drafts.set(pair.pair, { ...chosen(form), seconds: stopwatch.seconds() });
  else drafts.delete(pair.pair);
  await open(pair.position - 1);
}

async function save() {
  const { pair, total } = shown;
  const wasRated = Boolean(pair.rating);
  if (!wasRated || isChanged()) {
    one("#pair-status").textContent = t("saving");
    const given = chosen(form);
    const seconds = Math.min(stopwatch.seconds(), LONGEST_S);
    await ask("/ratings", { ...given, pair: pair.pair, rater, seconds });
    pair.rating = { ...given, seconds }; // kept, should the next step fail
    drafts.delete(pair.pair);
  }
  await open(wasRated && pair.position < total ? pair.position + 1 : undefined);
}

function start() {
  const name = one("#rater").value.trim();
  return during(async () => {
    rater = name;
    try {
      await open();
      write(RATER, name);
    } catch (error) {
      if (!(error instanceof Failure && error.status === 422)) throw error;
      askName();
      one("#name-status").textContent = t("rater_wrong");
      one("#rater").setAttribute("aria-invalid", "true");
    }
  });
}

function askName() {
  shown = null;
  drafts.clear();
  one("#rater").removeAttribute("aria-invalid");
  one("#name-status").textContent = "";
  show("name");
  one("#rater").focus();
}

function changeRater() {
  if (busy) return;
  write(RATER, "");
  one("#rater").value = "";
  one("#failure").replaceChildren();
  askName();
}

// --- what a person does --------------------------------------------------------------------------------

one("#name-form").addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (chosen(form).verdict) {
    during(save);
  } else {
    one("#pair-status").textContent = t("verdict_missing");
    one("#verdict input").focus();
  }
});
form.addEventListener("change", () => {
  one("#pair-status").textContent = "";
  nameNext();
});
letScoresBeTakenBack(form);
one("#back").addEventListener("click", () => during(goBack));
one("#look-again").addEventListener("click", () => during(() => open(shown.total)));
for (const id of ["#change-rater", "#next-rater"]) one(id).addEventListener("click", changeRater);
document.addEventListener("keydown", (event) => {
  if (form.hidden || event.repeat || event.isComposing || event.ctrlKey || event.altKey || event.metaKey) return;
  if (chooseByDigit(event, form)) event.preventDefault();
  // On a button or link Enter is its own; in a radio group the browser submits.
  else if (event.key === "Enter" && !event.target.closest("button, a, input")) form.requestSubmit();
});
document.addEventListener("redraw", draw);
one("#language").addEventListener("click", switchLanguage);

build();
translatePage();
draw();
show("name");
one("#rater").value = read(RATER) ?? "";
if (one("#rater").value) start();
else one("#rater").focus();
