// What the document page needs of npm, in one file: scripts/vendor.py makes static/vendor/editor.min.js of it.

export { SocketIOProvider } from "y-socket.io";
export { createAbsolutePositionFromRelativePosition, createRelativePositionFromTypeIndex, Doc, UndoManager } from "yjs";
export { yCollab, yUndoManagerKeymap } from "y-codemirror.next";
export { defaultKeymap, indentWithTab } from "@codemirror/commands";
export { HighlightStyle, StreamLanguage, syntaxHighlighting } from "@codemirror/language";
export { highlightSelectionMatches, search, searchKeymap } from "@codemirror/search";
export { Annotation } from "@codemirror/state";
export {
  Decoration, drawSelection, dropCursor, EditorView, highlightSpecialChars, keymap, placeholder, ViewPlugin, WidgetType,
} from "@codemirror/view";
export { tags } from "@lezer/highlight";
