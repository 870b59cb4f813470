// A field over the board, in which a text is written or changed. Enter or a click elsewhere ends it, Escape gives up.

import { round } from "./geometry.js";
import { TEXT_LIMIT, cleanText, fontSize, newKey, orderAbove } from "./shapes.js";

export class TextEditor {
  #board;
  #layer;
  #open = null; // {field, shape, key}

  constructor(board, layer) {
    this.#board = board;
    this.#layer = layer;
  }

  // Opens an empty field at a point of the board, or the text that has ``key``.
  open(x, y, key = null) {
    this.close();
    const { view, style } = this.#board;
    const shape = key ? view.get(key) : { type: "text", ...style(), points: [round(x), round(y)], text: "" };
    const field = document.createElement("textarea");
    field.className = `editor color-${shape.color}`;
    field.maxLength = TEXT_LIMIT;
    field.rows = 1;
    field.dir = "auto";
    field.setAttribute("aria-label", "Text on the board");
    field.value = shape.text;
    this.#open = { field, shape, key };
    if (key) view.setFaded(key, true);
    field.addEventListener("input", () => this.place());
    field.addEventListener("keydown", (event) => this.#onKey(event));
    field.addEventListener("blur", () => this.close());
    this.#layer.append(field);
    this.place();
    field.focus({ preventScroll: true }); // at once: a phone shows its keyboard only then
  }

  #onKey(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) event.preventDefault();
    else if (event.key !== "Escape") return;
    this.close(event.key === "Enter");
    document.getElementById("surface").focus({ preventScroll: true });
  }

  // Puts the field where its text is under the camera, as large as its text.
  place() {
    if (!this.#open) return;
    const { field, shape } = this.#open;
    const { view } = this.#board;
    const [left, top] = view.toSurface(...shape.points);
    const { style } = field;
    style.transform = `translate(${left}px, ${top}px)`;
    style.fontSize = `${fontSize(shape) * view.camera.zoom}px`;
    style.width = style.height = "0";
    style.width = `${field.scrollWidth + 8}px`;
    style.height = `${field.scrollHeight}px`;
  }

  close(isKept = true) {
    if (!this.#open) return;
    const { field, shape, key } = this.#open;
    this.#open = null; // before the field goes, which blurs it
    const { view, history } = this.#board;
    if (key) view.setFaded(key, false);
    field.remove();
    const text = cleanText(field.value);
    if (!isKept || text === shape.text || (key && !view.get(key))) return;
    if (text.trim()) {
      const order = shape.order ?? orderAbove(view.topOrder);
      history.do(new Map([[key ?? newKey(), { ...shape, order, text }]]));
    } else if (key) {
      history.do(new Map([[key, null]]));
    }
  }
}
