// The others' cursors, with their names. They are shown a tenth of a second late, between two positions that are known: so
// they move evenly although positions come in ticks.

import { colorOf } from "../people.js";
import { isCoordinate } from "./shapes.js";

const LATE_S = 0.1;
const POSITIONS_LIMIT = 8; // of a cursor

export class Cursors {
  #view;
  #layer;
  #cursors = new Map(); // client -> {element, seen: [{at, x, y}], x, y}
  #aheadS = Infinity; // by how much our clock is ahead of the server's
  #frame = null;
  #movesEvenly = matchMedia("(prefers-reduced-motion: no-preference)");

  constructor(view, layer) {
    this.#view = view;
    this.#layer = layer;
  }

  set(client, user, data, at) {
    const isPosition = data !== null && typeof data === "object" && [data.x, data.y].every(isCoordinate);
    if (!isPosition) {
      this.#cursors.get(client)?.element.remove();
      this.#cursors.delete(client);
      return;
    }
    this.#aheadS = Math.min(this.#aheadS, Date.now() / 1000 - at);
    const cursor = this.#cursors.get(client) ?? this.#add(client, user);
    const { x, y } = data;
    cursor.seen = [...cursor.seen, { at, x, y }].slice(-POSITIONS_LIMIT);
    this.#frame ??= requestAnimationFrame(() => this.#draw());
  }

  clear() {
    this.#layer.replaceChildren();
    this.#cursors.clear();
    this.#aheadS = Infinity; // it may be another server
  }

  #add(client, user) {
    const element = document.createElement("div");
    const name = document.createElement("bdi");
    element.className = `cursor ${colorOf(user)}`;
    name.textContent = user;
    element.append(name);
    this.#layer.append(element);
    const cursor = { element, seen: [] };
    this.#cursors.set(client, cursor);
    return cursor;
  }

  #draw() {
    this.#frame = null;
    const at = Date.now() / 1000 - this.#aheadS - LATE_S;
    let isMoving = false;
    for (const cursor of this.#cursors.values()) {
      Object.assign(cursor, this.#movesEvenly.matches ? between(cursor.seen, at) : cursor.seen.at(-1));
      isMoving ||= this.#movesEvenly.matches && cursor.seen.at(-1).at > at;
    }
    this.place();
    if (isMoving) this.#frame ??= requestAnimationFrame(() => this.#draw());
  }

  // Puts every cursor where it belongs under the camera.
  place() {
    for (const { element, x, y } of this.#cursors.values()) {
      if (x === undefined) continue; // it is new, and drawn with the next frame
      const [left, top] = this.#view.toSurface(x, y);
      element.style.transform = `translate(${left}px, ${top}px)`;
    }
  }
}

function between(seen, at) {
  const next = seen.findIndex((position) => position.at > at);
  if (next < 0) return seen.at(-1); // it stands still, or is late
  if (next === 0) return seen[0];
  const [a, b] = [seen[next - 1], seen[next]];
  const share = (at - a.at) / (b.at - a.at);
  return { x: a.x + (b.x - a.x) * share, y: a.y + (b.y - a.y) * share };
}
