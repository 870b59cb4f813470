// The rows of the list of messages: somebody's message, one that is not sent yet, a gap. Answers have a file of their own.

import { colorOf, initialsOf } from "../people.js";
import { withLinks } from "./links.js";
import { dayName, isSameDay, setTime } from "./times.js";

const GROUPED_S = 300; // messages of one sender within it are shown as one group
const SENDING = { waiting: "Waits for the connection", sending: "Sending …" };

export function fromTemplate(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

export function showAvatar(element, name) {
  element.className = `avatar ${colorOf(name)}`;
  element.dataset.initials = initialsOf(name);
}

// The line with the day above the first message of each, and the one above what is new.
export class Dividers {
  #day;
  #news;
  #dayAt = null;

  constructor(element) {
    this.#day = element.querySelector(".day");
    this.#news = element.querySelector(".new-line");
  }

  update(item, previous, newSince) {
    const at = atOf(item);
    const hasDay = !previous || previous.kind === "gap" || !isSameDay(atOf(previous), at);
    this.#day.hidden = !hasDay;
    if (hasDay && this.#dayAt !== at) {
      this.#day.firstElementChild.textContent = dayName(at);
      this.#dayAt = at;
    }
    const isNew = Boolean(newSince && item.seq > newSince && previous?.seq <= newSince);
    this.#news.hidden = !isNew;
    return hasDay || isNew;
  }
}

export class MessageRow {
  element = fromTemplate("message-row");
  #dividers = new Dividers(this.element);

  // ``isMention(item)``: whether it names the reader.
  constructor(item, isMention) {
    const { element } = this;
    const { user, text, at, kind, isPrivate, isOwn } = item;
    element.classList.toggle("prompt", kind === "prompt");
    element.classList.toggle("is-own", isOwn);
    element.classList.toggle("is-mention", isMention(item));
    showAvatar(element.querySelector(".avatar"), user);
    element.querySelector(".sender").textContent = user;
    for (const time of element.querySelectorAll("time")) setTime(time, at);
    element.querySelector(".text").append(withLinks(text));
    element.querySelector(".tag").hidden = kind !== "prompt";
    element.querySelector(".tag").textContent = isPrivate ? "asks the AI, seen by you alone" : "asks the AI";
  }

  update(item, previous, newSince) {
    const isCut = this.#dividers.update(item, previous, newSince);
    const isNext = previous?.kind === item.kind && previous.user === item.user && previous.isOwn === item.isOwn && item.at - previous.at < GROUPED_S;
    this.element.classList.toggle("is-first", isCut || !isNext || item.kind === "prompt");
  }
}

// One's own, which the server has not confirmed yet. ``actions``: retry(id), edit(entry), remove(id).
export class PendingRow {
  element = fromTemplate("pending-row");

  constructor(entry, me, actions) {
    const find = (selector) => this.element.querySelector(selector);
    showAvatar(find(".avatar"), me ?? "?");
    find(".sender").textContent = me ?? "You";
    find(".text").append(withLinks(entry.text));
    find(".retry").addEventListener("click", () => actions.retry(entry.id));
    find(".edit").addEventListener("click", () => actions.edit(entry));
    find(".remove").addEventListener("click", () => actions.remove(entry.id));
    this.update(entry);
  }

  update({ state, error }) {
    const hasFailed = state === "failed";
    this.element.classList.toggle("has-failed", hasFailed);
    this.element.querySelector(".status").textContent = hasFailed ? `Not sent: ${error}` : SENDING[state];
    this.element.querySelector(".choices").hidden = !hasFailed;
  }
}

export class GapRow {
  element = fromTemplate("gap-row");

  constructor(gap, timeline) {
    const text = this.element.querySelector("span");
    const button = this.element.querySelector("button");
    text.textContent = gap.isFinal ? "The server has begun anew. What is above this line is on this page only." : "Some messages are not shown.";
    button.hidden = Boolean(gap.isFinal);
    button.addEventListener("click", () => timeline.fill(gap));
  }

  update() {}
}

function atOf(item) {
  return item.kind === "answer" ? item.answer.at : item.kind === "gap" ? Date.now() / 1000 : item.at;
}
