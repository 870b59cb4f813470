// The editor on a shared text: CodeMirror with what a page of Markdown needs.

import {
  Decoration, defaultKeymap, drawSelection, dropCursor, EditorView, highlightSelectionMatches, highlightSpecialChars, indentWithTab, keymap,
  placeholder, search, searchKeymap, ViewPlugin, yCollab, yUndoManagerKeymap,
} from "../vendor/editor.min.js";
import { markdown } from "./markdown.js";
import { peers } from "./peers.js";

const HINT = "Write something. Everybody in this room sees it, and can write too.";

// ``parent``: the element that it fills, which says the nonce that its style sheets need. ``shared``: a SharedText that is open.
export function createEditor(parent, { text, awareness, undoManager }) {
  const extensions = [
    EditorView.cspNonce.of(parent.dataset.nonce),
    EditorView.lineWrapping,
    EditorView.perLineTextDirection.of(true),
    EditorView.contentAttributes.of({
      "aria-label": "Text of the document", "aria-describedby": "editor-help", autocapitalize: "sentences", spellcheck: "true",
    }),
    placeholder(HINT),
    highlightSpecialChars(),
    drawSelection(),
    dropCursor(),
    search({ top: true }),
    highlightSelectionMatches(),
    markdown,
    linesWithDirection,
    yCollab(text, null, { undoManager }),
    peers(text, awareness),
    keymap.of([...yUndoManagerKeymap, ...searchKeymap, ...defaultKeymap, indentWithTab]),
  ];
  return new EditorView({ doc: text.toString(), extensions, parent });
}

// Each line runs from the left or from the right, as what stands in it does.
const direction = Decoration.line({ attributes: { dir: "auto" } });

function directionOfLines(view) {
  const lines = [];
  for (const { from, to } of view.visibleRanges) {
    for (let at = from; at <= to; ) {
      const line = view.state.doc.lineAt(at);
      lines.push(direction.range(line.from));
      at = line.to + 1;
    }
  }
  return Decoration.set(lines, true);
}

const linesWithDirection = ViewPlugin.define(
  (view) => ({
    decorations: directionOfLines(view),
    update({ docChanged, viewportChanged, view: changed }) {
      if (docChanged || viewportChanged) this.decorations = directionOfLines(changed);
    },
  }),
  { decorations: (plugin) => plugin.decorations },
);
