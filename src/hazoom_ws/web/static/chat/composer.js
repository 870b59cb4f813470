// Where one writes: a field that grows, whether it goes to people or to the AI, and the sign that one is typing.

import { read, write } from "../browser_storage.js";

const TYPING_ENDS_MS = 3000; // after the last key
const TYPING_RENEWAL_MS = 2000; // the server ends an indicator that is not renewed
const MODE_KEY = "hazoom_ws.ai";
const LENGTH_SHOWN = 0.8; // of the limit: from here on one sees it coming
const bytes = new TextEncoder();
const element = (id) => document.getElementById(id);

export class Composer {
  #handlers;
  #field = element("text");
  #limitBytes = Infinity;
  #typingSentAt = null;
  #typingTimer;
  #isTouch = matchMedia("(pointer: coarse)").matches;
  #roomName = "";

  // ``handlers``: onSend({text, level?, isPrivate?}) returns whether it was taken; onTyping(isTyping), onProblem(text or null).
  constructor(handlers) {
    this.#handlers = handlers;
    const kept = read(MODE_KEY, {});
    for (const id of ["level", "scope"]) {
      if ([...element(id).options].some(({ value }) => value === kept[id])) element(id).value = kept[id];
    }
    element("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#field.addEventListener("keydown", (event) => this.#onKey(event));
    this.#field.addEventListener("input", () => this.#onInput());
    element("ask-ai").addEventListener("click", () => {
      this.setAsking(!this.isAsking);
      this.#field.focus();
    });
    for (const id of ["level", "scope"]) {
      element(id).addEventListener("change", () => {
        write(MODE_KEY, { level: element("level").value, scope: element("scope").value });
        this.#label();
      });
    }
    this.setAsking(false);
  }

  get isAsking() {
    return element("ask-ai").getAttribute("aria-pressed") === "true";
  }

  get text() {
    return this.#field.value;
  }

  set text(text) {
    this.#field.value = text;
    this.#fit();
    this.#showLength();
  }

  set limitBytes(limit) {
    this.#limitBytes = limit || Infinity;
  }

  focus() {
    this.#field.focus();
  }

  setAsking(isAsking) {
    element("ask-ai").setAttribute("aria-pressed", String(isAsking));
    element("composer").classList.toggle("is-asking", isAsking);
    element("ask-choices").hidden = !isAsking;
    this.#label();
  }

  setRoom(name) {
    this.#roomName = name;
    this.#label();
  }

  // The server has forgotten who types: it was lost, or the room is another one.
  forgetTyping() {
    clearTimeout(this.#typingTimer);
    this.#typingSentAt = null;
  }

  endTyping() {
    this.#setTyping(false);
  }

  #label() {
    const isPrivate = element("scope").value === "private";
    const asks = isPrivate ? "Ask the AI, for you alone" : `Ask the AI, in ${this.#roomName}`;
    this.#field.placeholder = this.isAsking ? asks : `Message to ${this.#roomName}`;
    element("send-label").textContent = this.isAsking ? "Ask" : "Send";
  }

  #onKey(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.altKey) return; // or a word is put together
    if (this.#isTouch && !event.ctrlKey && !event.metaKey) return; // a phone has a button, and no other key for a new line
    event.preventDefault();
    if (event.ctrlKey || event.metaKey) this.#send(true);
    else this.#send();
  }

  #onInput() {
    this.#fit();
    this.#showLength();
    this.#setTyping(this.text !== "");
  }

  #send(isQuestion = this.isAsking) {
    const { text } = this;
    if (!text.trim()) return;
    const sizeBytes = this.#sizeBytes();
    if (sizeBytes > this.#limitBytes) {
      const [size, limit] = [sizeBytes, this.#limitBytes].map((value) => value.toLocaleString());
      this.#handlers.onProblem(`The message has ${size} bytes; the limit is ${limit}.`);
      return;
    }
    const question = isQuestion ? { level: element("level").value, isPrivate: element("scope").value === "private" } : {};
    if (!this.#handlers.onSend({ text, ...question })) return;
    this.#handlers.onProblem(null);
    this.text = "";
    this.#setTyping(false);
  }

  #sizeBytes() {
    return bytes.encode(this.text).length;
  }

  #showLength() {
    const shownFrom = LENGTH_SHOWN * this.#limitBytes;
    const isNear = 3 * this.text.length > shownFrom && this.#sizeBytes() > shownFrom; // a letter has three bytes at most
    element("length").hidden = !isNear;
    if (!isNear) return;
    const left = this.#limitBytes - this.#sizeBytes();
    element("length").textContent = left < 0 ? `${(-left).toLocaleString()} bytes too long` : `${left.toLocaleString()} bytes left`;
    element("length").classList.toggle("is-over", left < 0);
  }

  // As tall as its text, up to what the style sheet allows.
  #fit() {
    this.#field.style.height = "auto";
    this.#field.style.height = `${this.#field.scrollHeight}px`;
  }

  #setTyping(isTyping) {
    clearTimeout(this.#typingTimer);
    if (isTyping) this.#typingTimer = setTimeout(() => this.#setTyping(false), TYPING_ENDS_MS);
    const isOn = this.#typingSentAt !== null;
    if (isTyping ? isOn && Date.now() - this.#typingSentAt < TYPING_RENEWAL_MS : !isOn) return;
    this.#typingSentAt = isTyping ? Date.now() : null;
    this.#handlers.onTyping(isTyping);
  }
}
