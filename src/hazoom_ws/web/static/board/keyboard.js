// Keys: letters choose tools while the board has the focus, so they never get in the way of who types or listens.

import { moved } from "./geometry.js";
import { nameOf } from "./shapes.js";

const TOOLS = { v: "select", p: "pen", l: "line", r: "rectangle", o: "ellipse", t: "text", e: "eraser", h: "hand" };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const STEP = { coarse: 10, fine: 1 };
const PAN_PIXELS = 60;

// ``actions``: chooseTool(name), tool(), undo(), redo(), fit(), remove().
export function listenToKeys(surface, board, pointers, actions) {
  const { view, selection, history } = board;

  function next(direction) {
    const { keys } = view;
    if (!keys.length) return;
    const at = keys.indexOf(selection.keys.at(-1));
    const index = at < 0 ? (direction > 0 ? 0 : keys.length - 1) : (at + direction + keys.length) % keys.length;
    selection.set([keys[index]]);
    board.announce(`${nameOf(view.get(keys[index]))} selected, ${index + 1} of ${keys.length}`);
  }

  function onArrow([x, y], isFine) {
    const step = isFine ? STEP.fine : STEP.coarse;
    const shapes = selection.keys.map((key) => [key, moved(view.get(key), x * step, y * step)]);
    if (shapes.length) history.do(new Map(shapes));
    else view.panBy(-x * PAN_PIXELS, -y * PAN_PIXELS);
  }

  function onEnter() {
    const [key] = selection.keys;
    const shape = key && view.get(key);
    if (shape?.type === "text") board.text.open(...shape.points, key);
    else if (!shape) actions.tool().drawAt?.(...view.center);
  }

  const onSurface = {
    " ": () => (pointers.isSpaceDown = true),
    Enter: onEnter,
    Delete: actions.remove,
    Backspace: actions.remove,
    n: () => next(1),
    b: () => next(-1),
    "+": () => view.zoomBy(1.25),
    "-": () => view.zoomBy(0.8),
    0: actions.fit,
  };

  surface.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== surface) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (ARROWS[key]) onArrow(ARROWS[key], event.shiftKey);
    else if (TOOLS[key]) actions.chooseTool(TOOLS[key]);
    else if (onSurface[key]) onSurface[key]();
    else return;
    event.preventDefault();
  });
  addEventListener("keyup", (event) => {
    if (event.key === " ") pointers.isSpaceDown = false;
  });
  addEventListener("blur", () => (pointers.isSpaceDown = false));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      pointers.cancel();
      selection.set([]);
    }
    if (!(event.ctrlKey || event.metaKey) || event.altKey || event.target.closest("input:not([type=radio]), textarea")) return;
    const key = event.key.toLowerCase();
    if (key === "z") (event.shiftKey ? actions.redo : actions.undo)();
    else if (key === "y") actions.redo();
    else if (key === "a" && event.target === surface) selection.set(view.keys);
    else return;
    event.preventDefault();
  });
}
