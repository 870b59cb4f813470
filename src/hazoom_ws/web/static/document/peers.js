// The cursors and selections of the others in the text, with their names; and one's own, which the others are told of.
//
// y-codemirror.next has such a thing too. It writes colors that others have chosen into style attributes, which the page's
// policy forbids; here a color is made of the name, as everywhere on these pages.

import {
  Annotation, createAbsolutePositionFromRelativePosition, createRelativePositionFromTypeIndex, Decoration, ViewPlugin, WidgetType,
} from "../vendor/editor.min.js";
import { colorOf } from "../people.js";

const NAME_LIMIT_CHARS = 64;
const haveMoved = Annotation.define();

class Caret extends WidgetType {
  constructor(name) {
    super();
    this.name = name;
  }

  eq(other) {
    return other.name === this.name;
  }

  toDOM() {
    const caret = document.createElement("span");
    caret.className = `peer-caret ${colorOf(this.name)}`;
    caret.setAttribute("aria-hidden", "true");
    const name = document.createElement("bdi");
    name.textContent = this.name;
    caret.append(name);
    return caret;
  }

  ignoreEvent() {
    return true;
  }
}

class Peers {
  #text;
  #awareness;
  #onChange;
  decorations;

  constructor(view, text, awareness) {
    this.#text = text;
    this.#awareness = awareness;
    const own = awareness.clientID;
    this.#onChange = ({ added, updated, removed }) => {
      if ([...added, ...updated, ...removed].some((id) => id !== own)) view.dispatch({ annotations: haveMoved.of(true) });
    };
    awareness.on("change", this.#onChange);
    this.decorations = this.#draw(view.state.doc.length);
  }

  update({ view, state, docChanged, selectionSet, focusChanged, transactions }) {
    if (view.hasFocus && (selectionSet || docChanged || focusChanged)) this.#tell(state.selection.main);
    if (docChanged || transactions.some((one) => one.annotation(haveMoved))) this.decorations = this.#draw(state.doc.length);
  }

  destroy() {
    this.#awareness.off("change", this.#onChange);
  }

  #tell({ anchor, head }) {
    const [anchorNow, headNow] = [anchor, head].map((index) => createRelativePositionFromTypeIndex(this.#text, index));
    const cursor = { anchor: anchorNow, head: headNow };
    if (JSON.stringify(cursor) === JSON.stringify(this.#awareness.getLocalState()?.cursor)) return;
    this.#awareness.setLocalStateField("cursor", cursor);
  }

  #draw(length) {
    const ranges = [];
    for (const [id, peer] of this.#awareness.getStates()) {
      if (id === this.#awareness.clientID) continue;
      const anchor = this.#indexOf(peer?.cursor?.anchor, length);
      const head = this.#indexOf(peer?.cursor?.head, length);
      if (anchor === null || head === null) continue;
      const name = nameOf(peer);
      const [from, to] = [Math.min(anchor, head), Math.max(anchor, head)];
      if (from < to) ranges.push(Decoration.mark({ class: `peer-selection ${colorOf(name)}` }).range(from, to));
      ranges.push(Decoration.widget({ side: head > anchor ? -1 : 1, widget: new Caret(name) }).range(head));
    }
    return Decoration.set(ranges, true);
  }

  // Null if it is no place in this text: what others send may be anything.
  #indexOf(position, length) {
    try {
      const found = createAbsolutePositionFromRelativePosition(position, this.#text.doc);
      return found?.type === this.#text ? Math.min(found.index, length) : null;
    } catch {
      return null;
    }
  }
}

function nameOf({ user }) {
  return typeof user?.name === "string" && user.name ? user.name.slice(0, NAME_LIMIT_CHARS) : "Somebody";
}

// An extension of the editor. It has to stand after the one that carries changes into ``text``.
export function peers(text, awareness) {
  return ViewPlugin.define((view) => new Peers(view, text, awareness), { decorations: (plugin) => plugin.decorations });
}
