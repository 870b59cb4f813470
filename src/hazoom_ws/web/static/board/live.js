// What is worth nothing a second later: cursors, strokes that are being drawn, shapes that are being moved.

import { isCoordinate, isShapeKey, parseShape } from "./shapes.js";

const INTERVAL_MS = 34; // at most 30 a second of each key
const MOVED_LIMIT = 50; // shapes that are shown while they move

// Sends the newest value of each key, and none twice in an interval.
export class Outgoing {
  #connection;
  #waiting = new Map(); // "channel key" -> item
  #timer = null;

  use(connection) {
    this.#connection = connection;
  }

  set(channel, key, data) {
    this.#waiting.set(`${channel} ${key}`, { channel, key, data });
    if (this.#timer === null) this.#flush();
  }

  #flush() {
    this.#timer = null;
    if (!this.#waiting.size) return;
    for (const item of this.#waiting.values()) this.#connection.relay(item);
    this.#waiting.clear();
    this.#timer = setTimeout(() => this.#flush(), INTERVAL_MS);
  }

  move(shapes) {
    const targets = [...shapes].slice(0, MOVED_LIMIT).map(([key, { points }]) => [key, points.slice(0, 2)]);
    this.set("move", "me", Object.fromEntries(targets));
  }
}

// Shows what others send.
export class Incoming {
  #view;
  #cursors;
  #moved = new Map(); // client -> keys of the shapes that it is moving
  ownClient = () => null;

  constructor(view, cursors) {
    this.#view = view;
    this.#cursors = cursors;
  }

  clear() {
    this.#view.clearLive();
    this.#cursors.clear();
    for (const client of [...this.#moved.keys()]) this.#move(client, null);
  }

  take({ at, items, snapshot }) {
    if (snapshot) this.clear();
    for (const { user, client, channel, key, data } of items) {
      if (client === this.ownClient() || key === undefined) continue;
      if (channel === "cursor" && key === "me") this.#cursors.set(client, user, data, at);
      else if (channel === "stroke") this.#view.setLive(`${client} ${key}`, parseShape(data));
      else if (channel === "move" && key === "me") this.#move(client, data);
    }
  }

  #move(client, data) {
    const targets = new Map(data && typeof data === "object" ? Object.entries(data).slice(0, MOVED_LIMIT) : []);
    for (const key of this.#moved.get(client) ?? []) if (!targets.has(key)) this.#view.setTarget(key, null);
    for (const [key, target] of targets) {
      const isTarget = isShapeKey(key) && Array.isArray(target) && target.length === 2 && target.every(isCoordinate);
      if (isTarget) this.#view.setTarget(key, target);
      else targets.delete(key);
    }
    if (targets.size) this.#moved.set(client, [...targets.keys()]);
    else this.#moved.delete(client);
  }
}
