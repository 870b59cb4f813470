// Tools that make shapes. A tool gets points {x, y, clientX, clientY, isStraight} of one gesture: begin, move ..., then end
// or cancel. ``board``: view, shapes, history, outgoing, selection, text, style() and announce(text).

import { round, simplify, split, straightened } from "./geometry.js";
import { POINTS_LIMIT, newKey, orderAbove } from "./shapes.js";

const SMOOTHING = 0.6; // the share of the way to the pointer that the pen goes
const CHUNK_POINTS = 100; // of an unfinished stroke: only its last chunk is sent again
const STROKE_POINTS = 2000; // then a stroke goes on as another one
const LEAST_PIXELS = 4; // of a shape that was spanned
const TOLERANCE = { kept: 0.15, live: 0.4 }; // pixels
let strokesCount = 0;

// Relays the parts of a shape that is not finished, each under a key of its own, until the server has the whole.
class Unfinished {
  #keys = new Set();
  #number = (strokesCount = (strokesCount + 1) % 1000);

  constructor(board) {
    this.board = board;
  }

  show(part, shape) {
    const key = `${this.#number}-${part}`;
    this.#keys.add(key);
    this.board.outgoing.set("stroke", key, shape);
  }

  async endAfter(answer) {
    await answer;
    for (const key of this.#keys) this.board.outgoing.set("stroke", key, null);
  }
}

export class PenTool {
  #board;
  #points = [];
  #shape;
  #unfinished;

  constructor(board) {
    this.#board = board;
  }

  begin({ x, y }) {
    this.#points = [x, y];
    const order = orderAbove(this.#board.view.topOrder);
    this.#shape = { type: "pen", ...this.#board.style(), order };
    this.#unfinished = new Unfinished(this.#board);
    this.#show();
  }

  move(points) {
    const { zoom } = this.#board.view.camera;
    for (const { x, y } of points) {
      const [lastX, lastY] = this.#points.slice(-2);
      const [nextX, nextY] = [lastX + (x - lastX) * SMOOTHING, lastY + (y - lastY) * SMOOTHING];
      if (Math.hypot(nextX - lastX, nextY - lastY) * zoom >= 0.5) this.#points.push(nextX, nextY);
    }
    this.#show();
    if (this.#points.length < 2 * STROKE_POINTS) return;
    const [x, y] = this.#points.slice(-2);
    this.end({ x, y });
    this.begin({ x, y });
  }

  #show() {
    const { view } = this.#board;
    view.setDraft({ ...this.#shape, points: this.#points });
    const chunk = Math.floor((this.#points.length / 2 - 1) / CHUNK_POINTS);
    const from = Math.max(0, 2 * (chunk * CHUNK_POINTS - 1)); // it begins where the chunk before it ends
    const points = simplify(this.#points.slice(from, 2 * (chunk + 1) * CHUNK_POINTS), TOLERANCE.live / view.camera.zoom);
    this.#unfinished.show(chunk, { ...this.#shape, points });
  }

  end({ x, y }) {
    const { view, history } = this.#board;
    this.#points.push(x, y);
    const points = simplify(this.#points, TOLERANCE.kept / view.camera.zoom);
    const pieces = split(points, POINTS_LIMIT).map((piece) => [newKey(), { ...this.#shape, points: piece }]);
    view.setDraft();
    this.#unfinished.endAfter(history.do(new Map(pieces)));
  }

  cancel() {
    this.#board.view.setDraft();
    this.#unfinished.endAfter();
  }
}

// Lines, rectangles and ellipses are spanned between two points.
export class SpanTool {
  #board;
  #type;
  #shape;
  #unfinished;

  constructor(board, type) {
    this.#board = board;
    this.#type = type;
  }

  begin({ x, y }) {
    const order = orderAbove(this.#board.view.topOrder);
    this.#shape = { type: this.#type, ...this.#board.style(), order, points: [x, y, x, y].map(round) };
    this.#unfinished = new Unfinished(this.#board);
  }

  move(points) {
    const { x, y, isStraight } = points.at(-1);
    const [fromX, fromY] = this.#shape.points;
    const end = isStraight ? straightened(this.#type, fromX, fromY, x, y) : [x, y];
    this.#shape = { ...this.#shape, points: [fromX, fromY, ...end.map(round)] };
    this.#board.view.setDraft(this.#shape);
    this.#unfinished.show(0, this.#shape);
  }

  end(point) {
    this.move([point]);
    const { view, history } = this.#board;
    const [ax, ay, bx, by] = this.#shape.points;
    view.setDraft();
    const isMeant = Math.hypot(bx - ax, by - ay) * view.camera.zoom >= LEAST_PIXELS;
    this.#unfinished.endAfter(isMeant ? history.do(new Map([[newKey(), this.#shape]])) : null);
  }

  cancel() {
    this.#board.view.setDraft();
    this.#unfinished.endAfter();
  }

  // What the keyboard draws: a shape of a usual size, to be moved from there.
  drawAt(x, y) {
    const { view, history } = this.#board;
    const order = orderAbove(view.topOrder);
    const points = [x - 80, y - 50, x + 80, y + 50].map(round);
    const key = newKey();
    history.do(new Map([[key, { type: this.#type, ...this.#board.style(), order, points }]]));
    this.#board.selection.set([key]);
  }
}

export class TextTool {
  #board;

  constructor(board) {
    this.#board = board;
  }

  begin() {}

  move() {}

  end({ x, y }) {
    this.#board.text.open(x, y);
  }

  cancel() {}

  drawAt(x, y) {
    this.#board.text.open(x, y);
  }
}
