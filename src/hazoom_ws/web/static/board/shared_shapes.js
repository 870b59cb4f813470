// The shapes of the room: what the server keeps, and over it what was changed here and is not answered yet.
// A change is shown at once, sent when there is a connection, and taken back if the server refuses it.

import { isShapeKey, newId, parseShape } from "./shapes.js";

const BATCH_LIMIT_BYTES = 60000; // of one event; the server takes 128 KB
const RETRY_MS = 1000;
const FULL = "This board is full, so your last change was taken back; everything else is still there. Erase something first.";

export class SharedShapes {
  #connection;
  #handlers;
  #kept = new Map(); // key -> {shape, seq, exists}; a value that is no shape exists and is not shown
  #wished = new Map(); // key -> {shape, change}: the newest unanswered change of it
  #changes = []; // {id, values, onAnswer} not answered yet, oldest first
  #isSending = false;
  #seq = 0; // up to here everything is known

  // ``handlers``: onChange(key, shape or null), onProblem(text or null), onPending(count).
  constructor(handlers) {
    this.#handlers = handlers;
  }

  use(connection) {
    this.#connection = connection;
  }

  get(key) {
    return this.#wished.has(key) ? this.#wished.get(key).shape : (this.#kept.get(key)?.shape ?? null);
  }

  // All keys that are there, of values that cannot be shown too.
  get keys() {
    const kept = [...this.#kept].filter(([key, { exists }]) => exists && !this.#wished.has(key)).map(([key]) => key);
    return kept.concat([...this.#wished].filter(([, { shape }]) => shape).map(([key]) => key));
  }

  // ---- changes made here

  // ``values``: Map of key -> shape, or null to delete. Resolves when the server has answered.
  async set(values) {
    const answers = batches(values).map((batch) => new Promise((resolve) => this.#add(batch, resolve)));
    this.#handlers.onPending(this.#changes.length);
    this.#send();
    await Promise.all(answers);
  }

  #add(values, onAnswer) {
    const change = { id: newId(), values, onAnswer };
    this.#changes.push(change);
    for (const [key, shape] of values) {
      this.#wished.set(key, { shape, change });
      this.#handlers.onChange(key, shape);
    }
  }

  async #send() {
    if (this.#isSending) return;
    this.#isSending = true;
    while (this.#connection.isIn && this.#changes.length) {
      const [change] = this.#changes;
      const { room } = this.#connection;
      // The same id on a second try makes the server set it once.
      const request = { room, values: Object.fromEntries(change.values), client_id: change.id };
      const reply = await this.#connection.request("state_set", request);
      if (!reply) continue; // lost: once more, when there is a connection
      if (reply.ok) this.#settle(change, reply.seq);
      else if (reply.error.retry || reply.error.code === "not_in_room") await this.#pause(reply.error);
      else this.#refuse(change, reply.error);
    }
    this.#isSending = false;
  }

  async #pause({ code, message, retry_at: retryAt }) {
    if (code !== "rate_limited") this.#handlers.onProblem(message);
    const wait = retryAt ? retryAt * 1000 - Date.now() : RETRY_MS;
    await new Promise((resolve) => setTimeout(resolve, Math.max(50, Math.min(wait, 10 * RETRY_MS))));
  }

  #settle(change, seq) {
    this.#handlers.onProblem(null);
    for (const [key, shape] of change.values) {
      if (seq >= (this.#kept.get(key)?.seq ?? 0)) this.#kept.set(key, { shape, seq, exists: shape !== null });
    }
    this.#forget(change);
  }

  #refuse(change, { code, message }) {
    this.#forget(change);
    this.#handlers.onProblem(code === "too_large" ? FULL : message);
  }

  #forget(change) {
    this.#changes.shift();
    for (const key of change.values.keys()) {
      if (this.#wished.get(key)?.change !== change) continue;
      this.#wished.delete(key);
      this.#handlers.onChange(key, this.get(key));
    }
    this.#handlers.onPending(this.#changes.length);
    change.onAnswer();
  }

  // ---- what the server says

  onEvent({ seq, values }) {
    for (const [key, value] of Object.entries(values)) this.#take(key, value, seq);
    this.#seq = Math.max(this.#seq, seq);
  }

  // One is in the room: ask for what one does not know, and send what has waited.
  async onIn(hasMissed) {
    if (hasMissed) {
      const { room, client } = this.#connection;
      const page = await this.#connection.request("state_get", { room, since: this.#seq });
      if (client !== this.#connection.client) return; // another one has begun since
      if (!page?.ok) {
        this.#handlers.onProblem(page ? page.error.message : "The server did not say what is on this board. Reload the page.");
      } else {
        if (!page.complete || !this.#seq) this.#replaceAll(page);
        this.onEvent(page);
      }
    }
    this.#send();
  }

  // Forgets what a whole state does not have; the numbers of a server that lost its memory begin anew.
  #replaceAll({ values }) {
    this.#seq = 0;
    for (const [key, { exists }] of [...this.#kept]) {
      this.#kept.delete(key);
      if (exists && !Object.hasOwn(values, key) && !this.#wished.has(key)) this.#handlers.onChange(key, null);
    }
  }

  #take(key, value, seq) {
    if (!isShapeKey(key) || seq < (this.#kept.get(key)?.seq ?? 0)) return;
    const shape = parseShape(value);
    this.#kept.set(key, { shape, seq, exists: value !== null });
    if (!this.#wished.has(key)) this.#handlers.onChange(key, shape);
  }
}

// What fits into one event each.
function batches(values) {
  const result = [new Map()];
  let bytes = 0;
  for (const [key, shape] of values) {
    const size = new TextEncoder().encode(JSON.stringify([key, shape])).length;
    if (bytes + size > BATCH_LIMIT_BYTES) {
      result.push(new Map());
      bytes = 0;
    }
    result.at(-1).set(key, shape);
    bytes += size;
  }
  return result;
}
