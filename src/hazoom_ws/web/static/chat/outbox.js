// What one has said and the server has not yet confirmed. It is sent in order, again after a lost connection or a reload, and
// kept once: its id stays the same. It waits in the tab's own storage.

import { read, write } from "../browser_storage.js";

const STORAGE_KEY = "hazoom_ws.unsent";
const ENTRIES_LIMIT = 100;
const STORED_CHARS = 1_000_000;
const TRIES_LIMIT = 5; // of one that the server does not answer
const PATIENCE_S = 30; // for so long it waits by itself for a rate that it was over

// An entry: {id, room, text, at, level?, isPrivate?, state, error?}. With a ``level`` it is a question to the AI. ``state``: waiting,
// sending, failed.
export class Outbox {
  #connection;
  #handlers;
  #tries = new Map();
  entries;

  // ``handlers``: mayEnter(room), onSent(entry, reply), onChange().
  constructor(connection, handlers) {
    this.#connection = connection;
    this.#handlers = handlers;
    const kept = read(STORAGE_KEY, [], "sessionStorage");
    this.entries = Array.isArray(kept) ? kept.filter(isEntry) : [];
    for (const entry of this.entries) if (entry.state === "sending") entry.state = "waiting";
  }

  of(room) {
    return this.entries.filter((entry) => entry.room === room);
  }

  // Returns false if too much waits already.
  add(entry) {
    if (this.entries.length >= ENTRIES_LIMIT) return false;
    this.entries.push({ ...entry, id: newId(), at: Date.now() / 1000, state: "waiting" });
    this.#changed();
    this.flush();
    return true;
  }

  retry(id) {
    const entry = this.entries.find((one) => one.id === id);
    if (!entry) return;
    Object.assign(entry, { state: "waiting", error: null });
    this.#tries.delete(id);
    this.#changed();
    this.flush();
  }

  // Returns what was removed, or undefined.
  remove(id) {
    const removed = this.entries.find((one) => one.id === id);
    if (!removed) return undefined;
    this.entries = this.entries.filter((one) => one.id !== id);
    this.#tries.delete(id);
    this.#changed();
    return removed;
  }

  // Sends what can be sent. In a room one after the other, so that they stay in order.
  flush() {
    if (!this.#connection.isConnected) return;
    const busy = new Set();
    for (const entry of this.entries) {
      if (busy.has(entry.room) || entry.state === "failed") continue;
      busy.add(entry.room);
      if (entry.state === "waiting" && !(entry.notBefore > Date.now()) && this.#handlers.mayEnter(entry.room)) this.#send(entry);
    }
  }

  #send(entry) {
    const { id, room, text, level, isPrivate } = entry;
    entry.state = "sending";
    this.#changed();
    const payload = level
      ? ["llm_request", { message: text, intelligence_level: level, request_id: id, ...(isPrivate ? {} : { room }) }]
      : ["message", { message: text, room, client_id: id }];
    this.#connection.request(...payload, (reply) => {
      // One that is not there any more has been seen in the room already.
      if (this.entries.includes(entry) && !reply.ok) this.#fail(entry, reply.error);
      else if (this.entries.includes(entry)) {
        this.remove(id);
        this.#handlers.onSent(entry, reply);
      }
      this.flush();
    });
  }

  #fail(entry, error) {
    const waitS = error.retry_at ? error.retry_at - Date.now() / 1000 : Infinity;
    const tries = (this.#tries.get(entry.id) ?? 0) + 1;
    this.#tries.set(entry.id, tries);
    if (error.code === "lost" && tries < TRIES_LIMIT) entry.state = "waiting";
    else if (error.retry && waitS < PATIENCE_S && tries < TRIES_LIMIT) {
      entry.state = "waiting";
      entry.notBefore = Date.now() + 1000 * Math.max(waitS, 0);
      setTimeout(() => this.flush(), 1000 * Math.max(waitS, 0) + 20);
    } else Object.assign(entry, { state: "failed", error: error.message });
    this.#changed();
  }

  #changed() {
    const texts = this.entries.reduce((sum, { text }) => sum + text.length, 0);
    write(STORAGE_KEY, this.entries.length && texts <= STORED_CHARS ? this.entries : null, "sessionStorage");
    this.#handlers.onChange();
  }
}

// What is in the storage may be of another version.
function isEntry(entry) {
  return [entry?.id, entry?.room, entry?.text].every((value) => typeof value === "string") && typeof entry.at === "number";
}

function newId() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
}
