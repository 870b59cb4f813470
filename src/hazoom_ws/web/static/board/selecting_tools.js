// Tools for what is there: select and move, erase, and the hand that moves the paper.

import { boundsOf, holds, moved } from "./geometry.js";
import { nameOf } from "./shapes.js";

const REACH_PIXELS = { mouse: 5, pen: 8, touch: 14 }; // how far beside a line still means it
const MOVES_FROM_PIXELS = 3;

function reach(board, pointerType) {
  return (REACH_PIXELS[pointerType] ?? REACH_PIXELS.mouse) / board.view.camera.zoom;
}

// The keys that are selected, and the frames around them.
export class Selection {
  #view;
  #keys = new Set();
  #area = null;
  #shift = [0, 0]; // by how much they are being moved
  onChange = () => {};

  constructor(view) {
    this.#view = view;
  }

  get keys() {
    return [...this.#keys];
  }

  has(key) {
    return this.#keys.has(key);
  }

  set(keys) {
    this.#keys = new Set(keys);
    this.#shift = [0, 0];
    this.refresh();
    this.onChange(this.keys);
  }

  toggle(key) {
    this.set(this.has(key) ? this.keys.filter((other) => other !== key) : [...this.keys, key]);
  }

  span(area) {
    this.#area = area;
    this.refresh();
  }

  shiftBy(dx, dy) {
    this.#shift = [dx, dy];
    this.refresh();
  }

  // To be called when a shape has changed or gone.
  onShape(key, shape) {
    if (!this.has(key)) return;
    if (shape) this.refresh();
    else this.toggle(key);
  }

  refresh() {
    const [dx, dy] = this.#shift;
    const frames = this.keys.map((key) => this.#view.boundsOf(key)).filter(Boolean);
    const move = ({ left, top, right, bottom }) => ({ left: left + dx, top: top + dy, right: right + dx, bottom: bottom + dy });
    this.#view.setMarks(frames.map(move), this.#area);
  }
}

export class SelectTool {
  #board;
  #start;
  #isMoving = false;
  #moved = new Map();
  #grasped = null; // the key under the pointer, null: an area is spanned
  #before = []; // what was selected

  constructor(board) {
    this.#board = board;
  }

  begin(point) {
    const { view, selection } = this.#board;
    this.#start = point;
    this.#isMoving = false;
    this.#before = selection.keys;
    this.#grasped = view.find(point.x, point.y, reach(this.#board, point.pointerType), { isInsideToo: true });
    if (!this.#grasped) {
      if (!point.isStraight) selection.set([]);
    } else if (point.isStraight) {
      selection.toggle(this.#grasped);
    } else if (!selection.has(this.#grasped)) {
      selection.set([this.#grasped]);
      this.#board.announce(`${nameOf(view.get(this.#grasped))} selected`);
    }
  }

  move(points) {
    const { view, selection, outgoing } = this.#board;
    const { x, y, clientX, clientY } = points.at(-1);
    const distance = Math.hypot(clientX - this.#start.clientX, clientY - this.#start.clientY);
    this.#isMoving ||= distance >= MOVES_FROM_PIXELS;
    if (!this.#isMoving) return;
    if (!this.#grasped) {
      selection.span(boundsOf([this.#start.x, this.#start.y, x, y]));
      return;
    }
    const [dx, dy] = [x - this.#start.x, y - this.#start.y];
    this.#moved = new Map();
    for (const key of selection.keys) if (view.get(key)) this.#moved.set(key, moved(view.get(key), dx, dy));
    for (const [key, shape] of this.#moved) view.setTarget(key, shape.points.slice(0, 2));
    selection.shiftBy(dx, dy);
    outgoing.move(this.#moved);
  }

  async end(point) {
    const { view, selection, history, outgoing } = this.#board;
    if (this.#isMoving) this.move([point]);
    if (this.#isMoving && !this.#grasped) {
      const area = boundsOf([this.#start.x, this.#start.y, point.x, point.y]);
      const inside = view.keys.filter((key) => holds(area, view.boundsOf(key)));
      selection.set(point.isStraight ? [...new Set([...this.#before, ...inside])] : inside);
    }
    const changed = this.#moved;
    this.#leave();
    if (!changed.size) return;
    await history.do(changed);
    outgoing.set("move", "me", null);
  }

  cancel() {
    if (this.#moved.size) this.#board.outgoing.set("move", "me", null);
    this.#leave();
    this.#board.selection.set(this.#before);
  }

  #leave() {
    for (const key of this.#moved.keys()) this.#board.view.setTarget(key, null);
    this.#moved = new Map();
    this.#board.selection.shiftBy(0, 0);
    this.#board.selection.span(null);
  }
}

export class EraserTool {
  #board;
  #last;
  #keys = new Set();

  constructor(board) {
    this.#board = board;
  }

  begin(point) {
    this.#last = point;
    this.#keys.clear();
    this.#touch(point, point.pointerType);
  }

  // Looks along the way from the last point: a quick pointer skips nothing.
  move(points) {
    for (const point of points) {
      const pixels = Math.hypot(point.clientX - this.#last.clientX, point.clientY - this.#last.clientY);
      const steps = Math.min(40, Math.ceil(pixels / REACH_PIXELS.mouse));
      for (let i = 1; i <= steps; i += 1) {
        const x = this.#last.x + ((point.x - this.#last.x) * i) / steps;
        const y = this.#last.y + ((point.y - this.#last.y) * i) / steps;
        this.#touch({ x, y }, point.pointerType);
      }
      this.#last = point;
    }
  }

  #touch({ x, y }, pointerType) {
    const { view } = this.#board;
    const key = view.find(x, y, reach(this.#board, pointerType), { except: this.#keys });
    if (!key) return;
    this.#keys.add(key);
    view.setFaded(key, true);
  }

  end() {
    const { view, history } = this.#board;
    const gone = [...this.#keys].filter((key) => view.get(key));
    if (gone.length) history.do(new Map(gone.map((key) => [key, null])));
  }

  cancel() {
    for (const key of this.#keys) this.#board.view.setFaded(key, false);
  }
}

export class HandTool {
  #board;
  #last;

  constructor(board) {
    this.#board = board;
  }

  begin(point) {
    this.#last = point;
  }

  move(points) {
    const point = points.at(-1);
    this.#board.view.panBy(point.clientX - this.#last.clientX, point.clientY - this.#last.clientY);
    this.#last = point;
  }

  end() {}

  cancel() {}
}
