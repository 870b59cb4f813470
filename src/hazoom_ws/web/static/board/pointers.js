// From pointers to gestures: one draws with the tool that is chosen, two fingers move and zoom the paper, the wheel too.

import { round } from "./geometry.js";

const COMMITTED_PIXELS = 24; // a gesture that has come so far is not ended by a second finger
const LINE_PIXELS = 16; // of wheels that count in lines
const MIDDLE_BUTTON = 1;

export class Pointers {
  #surface;
  #board;
  #hand;
  #toolOf;
  #fingers = new Map(); // pointerId -> {clientX, clientY}
  #gesture = null; // {id, tool, travel, last} of the one pointer that draws
  #pinch = null; // {distance, x, y} of two fingers
  isSpaceDown = false; // then the hand moves the paper

  // ``toolOf()``: the tool that is chosen.
  constructor(surface, board, hand, toolOf) {
    this.#surface = surface;
    this.#board = board;
    this.#hand = hand;
    this.#toolOf = toolOf;
    surface.addEventListener("pointerdown", (event) => this.#down(event));
    surface.addEventListener("pointermove", (event) => this.#move(event));
    surface.addEventListener("pointerup", (event) => this.#up(event, true));
    surface.addEventListener("pointercancel", (event) => this.#up(event, false));
    surface.addEventListener("pointerleave", () => board.outgoing.set("cursor", "me", null));
    surface.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    surface.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  cancel() {
    this.#gesture?.tool.cancel();
    this.#gesture = null;
  }

  #point({ clientX, clientY, shiftKey, pointerType }) {
    const [x, y] = this.#board.view.toBoard(clientX, clientY);
    return { x, y, clientX, clientY, pointerType, isStraight: shiftKey };
  }

  #down(event) {
    if (event.target.closest("textarea")) return;
    event.preventDefault(); // no selecting of text, no dragging
    this.#surface.focus({ preventScroll: true });
    this.#surface.setPointerCapture(event.pointerId);
    this.#fingers.set(event.pointerId, { clientX: event.clientX, clientY: event.clientY });
    if (this.#fingers.size === 2 && !(this.#gesture?.travel > COMMITTED_PIXELS)) {
      this.cancel();
      this.#pinch = this.#span();
    }
    if (this.#fingers.size > 1 || (event.button !== 0 && event.button !== MIDDLE_BUTTON)) return;
    const tool = this.isSpaceDown || event.button === MIDDLE_BUTTON ? this.#hand : this.#toolOf();
    this.#gesture = { id: event.pointerId, tool, travel: 0, last: event };
    tool.begin(this.#point(event));
  }

  #move(event) {
    const finger = this.#fingers.get(event.pointerId);
    if (finger) Object.assign(finger, { clientX: event.clientX, clientY: event.clientY });
    if (this.#pinch) this.#stretch();
    const gesture = this.#gesture;
    if (gesture?.id === event.pointerId) {
      gesture.travel += Math.hypot(event.clientX - gesture.last.clientX, event.clientY - gesture.last.clientY);
      gesture.last = event;
      const events = event.getCoalescedEvents?.() ?? [];
      gesture.tool.move((events.length ? events : [event]).map((one) => this.#point(one)));
    }
    if (this.#pinch) return;
    const [x, y] = this.#board.view.toBoard(event.clientX, event.clientY);
    this.#board.outgoing.set("cursor", "me", { x: round(x), y: round(y) });
  }

  #up(event, isDone) {
    this.#fingers.delete(event.pointerId);
    if (this.#fingers.size < 2) this.#pinch = null;
    const gesture = this.#gesture;
    if (gesture?.id !== event.pointerId) return;
    this.#gesture = null;
    if (isDone) gesture.tool.end(this.#point(event));
    else gesture.tool.cancel();
  }

  #span() {
    const [a, b] = [...this.#fingers.values()];
    const distance = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) || 1;
    return { distance, x: (a.clientX + b.clientX) / 2, y: (a.clientY + b.clientY) / 2 };
  }

  #stretch() {
    const { view } = this.#board;
    const [before, now] = [this.#pinch, this.#span()];
    view.panBy(now.x - before.x, now.y - before.y);
    view.zoomAt(now.x, now.y, (view.camera.zoom * now.distance) / before.distance);
    this.#pinch = now;
  }

  #wheel(event) {
    event.preventDefault();
    const { view } = this.#board;
    const unit = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : LINE_PIXELS;
    if (event.ctrlKey || event.metaKey) {
      const factor = Math.exp(-Math.max(-50, Math.min(50, event.deltaY * unit)) / 100);
      view.zoomAt(event.clientX, event.clientY, view.camera.zoom * factor);
    } else {
      view.panBy(-event.deltaX * unit, -event.deltaY * unit);
    }
  }
}
