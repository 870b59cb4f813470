// What the board shows: shapes as SVG elements in one order for everybody, and the camera that looks at them.
// SVG, as each shape is then one element that the browser paints again by itself, sharp at every zoom, light or dark.

import { elementOf, svg } from "./elements.js";
import { boundsOf, isInside, touches, union } from "./geometry.js";

const ZOOM = { least: 0.1, most: 8 };
const GRID = 24; // units between two dots
const FIT_MARGIN = 40; // pixels
const REST_MS = 120; // after the last move of the camera
const BLURRED = 2; // so much larger or smaller than it was painted
const FARTHEST = 100000; // units from the origin that one gets

export class View {
  #entries = new Map(); // key -> {key, shape, element, bounds}
  #sorted = []; // the same, from the bottom to the top
  #live = new Map(); // id -> element of what somebody else is drawing
  #targets = new Map(); // key -> [x, y]: to where somebody else is moving it
  #surface;
  #papers; // two <svg>: what changes all the time does not have the shapes painted again
  #painted = { x: 0, y: 0, zoom: 1 }; // the camera for which it is painted
  #rest;
  #layers = {};
  camera = { x: 0, y: 0, zoom: 1 };
  onCamera = () => {};

  constructor(surface) {
    this.#surface = surface;
    this.#papers = [...surface.querySelectorAll("svg")];
    [["shapes"], ["live", "draft", "marks"]].forEach((names, i) => {
      for (const name of names) this.#layers[name] = svg("g", { class: name });
      this.#papers[i].append(svg("g"));
      this.#papers[i].firstChild.append(...names.map((name) => this.#layers[name]));
    });
    this.#paint();
    this.#applyCamera();
  }

  // ---- shapes

  get(key) {
    return this.#entries.get(key)?.shape ?? null;
  }

  get count() {
    return this.#sorted.length;
  }

  get topOrder() {
    return this.#sorted.at(-1)?.shape.order ?? 0;
  }

  get keys() {
    return this.#sorted.map(({ key }) => key);
  }

  // Shows a shape under its key in place of what was there; null takes it away.
  show(key, shape) {
    const before = this.#entries.get(key);
    if (before) {
      before.element.remove();
      this.#sorted.splice(this.#sorted.indexOf(before), 1);
      this.#entries.delete(key);
    }
    if (!shape) return;
    const entry = { key, shape, element: elementOf(shape), bounds: null };
    entry.element.dataset.key = key;
    const place = this.#placeFor(entry);
    this.#layers.shapes.insertBefore(entry.element, this.#sorted[place]?.element ?? null);
    this.#sorted.splice(place, 0, entry);
    this.#entries.set(key, entry);
    this.#applyTarget(entry);
  }

  #placeFor({ key, shape: { order } }) {
    let [from, to] = [0, this.#sorted.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      const { key: otherKey, shape: other } = this.#sorted[middle];
      if (other.order < order || (other.order === order && otherKey < key)) from = middle + 1;
      else to = middle;
    }
    return from;
  }

  boundsOf(key) {
    const entry = this.#entries.get(key);
    if (!entry) return null;
    entry.bounds ??= this.#measure(entry);
    return entry.bounds;
  }

  #measure({ shape, element }) {
    if (shape.type !== "text") return boundsOf(shape.points, shape.width / 2);
    const { x, y, width, height } = element.getBBox();
    return { left: x, top: y, right: x + width, bottom: y + height };
  }

  // The topmost shape whose line or text is at a point; if ``isInsideToo``, else the topmost one around it.
  find(x, y, reach, { isInsideToo = false, except = null } = {}) {
    let around = null;
    for (let i = this.#sorted.length - 1; i >= 0; i -= 1) {
      const { key, shape } = this.#sorted[i];
      if (!isInside(this.boundsOf(key), x, y, reach) || except?.has(key)) continue;
      if (shape.type === "text" || touches(shape, x, y, reach)) return key;
      if (shape.type === "rectangle" || shape.type === "ellipse") around ??= key;
    }
    return isInsideToo ? around : null;
  }

  setFaded(key, isFaded) {
    this.#entries.get(key)?.element.classList.toggle("faded", isFaded);
  }

  // ---- what is not finished: one's own, and others'

  setDraft(...shapes) {
    this.#layers.draft.replaceChildren(...shapes.map((shape) => elementOf(shape)));
  }

  setLive(id, shape) {
    const element = shape && elementOf(shape);
    if (this.#live.has(id)) this.#live.get(id).remove();
    this.#live.delete(id);
    if (!element) return;
    this.#layers.live.append(element);
    this.#live.set(id, element);
  }

  clearLive() {
    this.#layers.live.replaceChildren();
    this.#live.clear();
  }

  // Shows a shape where its first point is at ``target`` until it is shown anew there; null: where it is.
  setTarget(key, target) {
    if (target) this.#targets.set(key, target);
    else this.#targets.delete(key);
    if (this.#entries.has(key)) this.#applyTarget(this.#entries.get(key));
  }

  #applyTarget({ key, shape, element }) {
    const target = this.#targets.get(key);
    if (!target) element.removeAttribute("transform");
    else element.setAttribute("transform", `translate(${target[0] - shape.points[0]} ${target[1] - shape.points[1]})`);
  }

  // Frames around what is selected, and the area that is being spanned.
  setMarks(frames, area) {
    const gap = 4 / this.camera.zoom;
    const marks = frames.map((bounds) => this.#rectangle(bounds, gap, "frame"));
    if (area) marks.push(this.#rectangle(area, 0, "area"));
    this.#layers.marks.replaceChildren(...marks);
  }

  #rectangle({ left, top, right, bottom }, gap, name) {
    const [width, height] = [right - left + 2 * gap, bottom - top + 2 * gap];
    return svg("rect", { x: left - gap, y: top - gap, width, height, rx: gap, class: name });
  }

  // ---- camera

  get size() {
    return { width: this.#surface.clientWidth, height: this.#surface.clientHeight };
  }

  toBoard(clientX, clientY) {
    const { left, top } = this.#surface.getBoundingClientRect();
    const { x, y, zoom } = this.camera;
    return [(clientX - left) / zoom + x, (clientY - top) / zoom + y];
  }

  toSurface(boardX, boardY) {
    const { x, y, zoom } = this.camera;
    return [(boardX - x) * zoom, (boardY - y) * zoom];
  }

  get center() {
    const { width, height } = this.size;
    return [this.camera.x + width / 2 / this.camera.zoom, this.camera.y + height / 2 / this.camera.zoom];
  }

  panBy(pixelsX, pixelsY) {
    this.camera.x -= pixelsX / this.camera.zoom;
    this.camera.y -= pixelsY / this.camera.zoom;
    this.#applyCamera();
  }

  // Zooms so that what is at a point of the window stays there.
  zoomAt(clientX, clientY, zoom) {
    const [x, y] = this.toBoard(clientX, clientY);
    this.camera.zoom = Math.max(ZOOM.least, Math.min(ZOOM.most, zoom));
    const [newX, newY] = this.toBoard(clientX, clientY);
    this.camera.x += x - newX;
    this.camera.y += y - newY;
    this.#applyCamera();
  }

  zoomBy(factor) {
    const { left, top, width, height } = this.#surface.getBoundingClientRect();
    this.zoomAt(left + width / 2, top + height / 2, this.camera.zoom * factor);
  }

  get content() {
    return union(this.keys.map((key) => this.boundsOf(key)));
  }

  // Shows everything, in its own size if it has room.
  fit({ top: insetTop, bottom: insetBottom }) {
    const content = this.content;
    if (!content) return;
    const { width, height } = this.size;
    const [right, bottom] = [width - 2 * FIT_MARGIN, height - insetTop - insetBottom - 2 * FIT_MARGIN];
    const zoom = Math.min(1, right / (content.right - content.left || 1), bottom / (content.bottom - content.top || 1));
    this.camera.zoom = Math.max(ZOOM.least, zoom);
    this.camera.x = (content.left + content.right - width / this.camera.zoom) / 2;
    this.camera.y = (content.top + content.bottom - (height + insetTop - insetBottom) / this.camera.zoom) / 2;
    this.#applyCamera();
  }

  #applyCamera() {
    this.camera.x = Math.max(-FARTHEST, Math.min(FARTHEST, this.camera.x));
    this.camera.y = Math.max(-FARTHEST, Math.min(FARTHEST, this.camera.y));
    const { x, y, zoom } = this.camera;
    const share = zoom / this.#painted.zoom;
    const [left, top] = [(this.#painted.x - x) * zoom, (this.#painted.y - y) * zoom];
    for (const paper of this.#papers) paper.style.transform = `translate(${left}px, ${top}px) scale(${share})`;
    clearTimeout(this.#rest);
    if (share > BLURRED || share < 1 / BLURRED) this.#paint();
    else this.#rest = setTimeout(() => this.#paint(), REST_MS);
    const grid = GRID * zoom * (zoom < 0.5 ? 4 : 1);
    this.#surface.style.backgroundSize = `${grid}px ${grid}px`;
    this.#surface.style.backgroundPosition = `${-x * zoom}px ${-y * zoom}px`;
    this.onCamera();
  }

  // While the camera moves, the browser shifts and scales what it has painted; when it rests, all is painted anew.
  #paint() {
    const { x, y, zoom } = this.camera;
    this.#painted = { x, y, zoom };
    for (const paper of this.#papers) {
      paper.firstChild.setAttribute("transform", `scale(${zoom}) translate(${-x} ${-y})`);
      paper.style.transform = "";
    }
  }
}
