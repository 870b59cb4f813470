// An answer of the AI as a card: it waits, grows, ends; it can be stopped, asked for again, copied.

import { copy } from "./clipboard.js";
import { paintSoon } from "./frames.js";
import { MarkdownView } from "./markdown.js";
import { Dividers, fromTemplate } from "./rows.js";
import { durationText, setTime } from "./times.js";

const ENDS = { cancelled: "stopped", failed: "failed", lost: "the connection was lost" };
export const LEVELS = { nano: "Nano", standard: "Standard", super: "Super", quantum: "Quantum" };

export class AnswerRow {
  element = fromTemplate("answer-row");
  #answer;
  #dividers = new Dividers(this.element);
  #markdown;
  #restarts = 0;
  #paint = () => this.#render();

  // ``actions``: stop(answer), askAgain(answer).
  constructor({ answer, isPrivate }, _me, actions) {
    this.#answer = answer;
    this.#markdown = new MarkdownView(this.#find(".text"));
    this.#find(".private").hidden = !isPrivate;
    this.#find(".stop").addEventListener("click", () => actions.stop(answer));
    this.#find(".again").addEventListener("click", () => actions.askAgain(answer));
    this.#find(".copy").addEventListener("click", ({ currentTarget }) => copy(answer.text, currentTarget));
    answer.onChange = () => paintSoon(this.#paint);
    this.#render();
  }

  update(item, previous, newSince) {
    this.#dividers.update(item, previous, newSince);
  }

  close() {
    this.#answer.onChange = () => {};
  }

  #render() {
    const answer = this.#answer;
    const { state, isEnded, text, error } = answer;
    this.element.dataset.state = state;
    this.#find("article").setAttribute("aria-busy", String(!isEnded));
    setTime(this.#find("time"), answer.at);
    this.#showWaiting();
    this.#showText();
    const end = [ENDS[state], isEnded && !text ? "no answer" : null].filter(Boolean).join(", ");
    this.#set(".state", end && error?.message ? `${end}: ${error.message}` : end);
    this.#set(".level", LEVELS[answer.level] ?? "");
    this.#set(".figures", figuresOf(answer));
    this.#find(".stop").hidden = isEnded || !answer.isMine;
    this.#find(".again").hidden = !isEnded || !answer.question;
    this.#find(".copy").hidden = !isEnded || !text;
    this.#find(".actions").hidden = !isEnded && !answer.isMine;
  }

  #showWaiting() {
    const { state, position } = this.#answer;
    this.#find(".waiting").hidden = state !== "thinking" && state !== "queued";
    this.#set(".waiting-text", state === "queued" ? `The AI is busy: number ${position} in the queue` : "Thinking …");
  }

  #showText() {
    const { text, restarts, isEnded } = this.#answer;
    if (restarts !== this.#restarts) {
      this.#restarts = restarts;
      this.#markdown.clear();
    }
    const isShown = (isEnded || !this.#markdown.isResting) && this.#markdown.show(text, isEnded);
    if (!isShown) paintSoon(this.#paint); // the rest in another frame
  }

  #set(selector, text) {
    const element = this.#find(selector);
    if (element.textContent !== text) element.textContent = text;
    if (selector !== ".waiting-text") element.hidden = !text;
  }

  #find(selector) {
    return this.element.querySelector(selector);
  }
}

function figuresOf({ ttftMs, durationMs, tokenCount }) {
  if (ttftMs === null) return "";
  const figures = [`first token after ${durationText(ttftMs)}`];
  if (tokenCount) figures.push(`${tokenCount} tokens`);
  if (durationMs) figures.push(durationText(durationMs));
  return figures.join(" · ");
}
