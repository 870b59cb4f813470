// The page of a document: joins its parts.

import { storedName } from "../identity.js";
import { Connection } from "../room_connection.js";
import { announce, download, element, listenToPanels, showPeople, showProblem, showRoom, showState } from "../room_page.js";
import { Assistant } from "./assistant.js";
import { createEditor } from "./editor.js";
import { SharedText } from "./shared_text.js";

const shared = new SharedText({ onReady: showEditor, onRefused: refuse });
const { undoManager } = shared;
const connection = new Connection(new URLSearchParams(location.search).get("room") || null, storedName(), {
  onState: showState,
  onPeople: (names, count) => showPeople(names, count, connection.user),
  onRoom: (room) => showRoom(room, "document"),
  onIn: () => shared.open(connection.room, connection.user, connection.auth),
  onShared: () => {},
  onRelay: () => {},
  onProblem: showProblem,
  onNews: announce,
});

const assistant = new Assistant(connection, { onWriting: showWriting, onProblem: showProblem });

function showEditor() {
  element("loading").hidden = true;
  const editor = createEditor(element("editor"), shared);
  if (!matchMedia("(pointer: coarse)").matches) editor.focus(); // on a phone that would bring the keyboard out
}

function refuse(text) {
  showState("refused");
  showProblem(text);
}

function showWriting(isWriting) {
  element("stop").hidden = !isWriting;
  element("ask").disabled = isWriting;
}

function showSteps() {
  element("undo").disabled = undoManager.undoStack.length === 0;
  element("redo").disabled = undoManager.redoStack.length === 0;
}

for (const event of ["stack-item-added", "stack-item-popped", "stack-cleared"]) undoManager.on(event, showSteps);
element("undo").addEventListener("click", () => undoManager.undo());
element("redo").addEventListener("click", () => undoManager.redo());
element("save").addEventListener("click", () => {
  download(new Blob([shared.text.toString()], { type: "text/plain" }), connection.room ?? "document", "md");
  element("menu").hidePopover?.();
});
element("ask").addEventListener("click", () => {
  element("menu").hidePopover?.();
  element("asking").showModal();
});
element("cancel-asking").addEventListener("click", () => element("asking").close());
element("asking-form").addEventListener("submit", () => {
  assistant.ask(element("question").value);
  element("question").value = "";
});
element("stop").addEventListener("click", () => assistant.stop());
listenToPanels((name) => {
  assistant.forget();
  shared.leave();
  connection.rename(name);
});
addEventListener("beforeunload", (event) => {
  if (shared.hasUnsent) event.preventDefault();
});
showState("connecting");
