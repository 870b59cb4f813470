// The page of a whiteboard: joins its parts with what is on it.

import { storedName, storeName } from "../identity.js";
import { colorOf } from "../people.js";
import { Connection } from "./connection.js";
import { Cursors } from "./cursors.js";
import { PenTool, SpanTool, TextTool } from "./drawing_tools.js";
import { download, pngOf, svgOf } from "./export.js";
import { History } from "./history.js";
import { listenToKeys } from "./keyboard.js";
import { Incoming, Outgoing } from "./live.js";
import { Pointers } from "./pointers.js";
import { EraserTool, HandTool, SelectTool, Selection } from "./selecting_tools.js";
import { WIDTHS } from "./shapes.js";
import { SharedShapes } from "./shared_shapes.js";
import { TextEditor } from "./text_editor.js";
import { View } from "./view.js";

const RECOVERED_MS = 4000; // for so long it is said
const STATES = {
  connecting: "Connecting …",
  connected: "Connected",
  recovered: "Connected again",
  offline: "Offline",
  refused: "Not connected",
};
const element = (id) => document.getElementById(id);
const surface = element("surface");

// ---- the parts

const view = new View(surface);
const cursors = new Cursors(view, element("cursors"));
const selection = new Selection(view);
const outgoing = new Outgoing();
const incoming = new Incoming(view, cursors);
const shapes = new SharedShapes({ onChange: onShape, onProblem: showProblem, onPending: showPending });
const history = new History(shapes);
const board = { view, shapes, history, outgoing, selection, style, announce };
board.text = new TextEditor(board, element("editors"));
const tools = {
  select: new SelectTool(board),
  hand: new HandTool(board),
  pen: new PenTool(board),
  line: new SpanTool(board, "line"),
  rectangle: new SpanTool(board, "rectangle"),
  ellipse: new SpanTool(board, "ellipse"),
  text: new TextTool(board),
  eraser: new EraserTool(board),
};
const pointers = new Pointers(surface, board, tools.hand, () => tools[chosen("tool")]);
const connection = new Connection(new URLSearchParams(location.search).get("room") || null, storedName(), {
  onState: showState,
  onPeople: showPeople,
  onRoom: showRoom,
  onIn: enter,
  onShared: (event) => shapes.onEvent(event),
  onRelay: (event) => incoming.take(event),
  onProblem: showProblem,
  onNews: announce,
});
shapes.use(connection);
outgoing.use(connection);
incoming.ownClient = () => connection.client;
let isFitted = false; // what was there has been brought into sight
let pendingCount = 0;
let recoveredTimer = null;

// ---- what the parts say

function onShape(key, shape) {
  view.show(key, shape);
  selection.onShape(key, shape);
  surface.setAttribute("aria-label", `Whiteboard with ${view.count} ${view.count === 1 ? "shape" : "shapes"}`);
  element("hint").hidden = view.count > 0;
}

async function enter(hasMissed) {
  await shapes.onIn(hasMissed);
  surface.dataset.isLoaded = "true";
  if (isFitted) return;
  isFitted = true;
  const { content, size } = view;
  const isInSight = content && content.left >= 0 && content.top >= 0 && content.right <= size.width && content.bottom <= size.height;
  if (content && !isInSight) fit();
}

function showState(state) {
  document.body.dataset.state = state;
  element("connection").textContent = STATES[state];
  element("offline").hidden = state !== "offline";
  clearTimeout(recoveredTimer);
  if (state === "recovered") recoveredTimer = setTimeout(() => showState("connected"), RECOVERED_MS);
  else if (state !== "connected") incoming.clear();
}

function showRoom(room) {
  const query = `?room=${encodeURIComponent(room)}`;
  if (location.search !== query) window.history.replaceState(null, "", query);
  document.title = `${room} – whiteboard`;
  element("room").textContent = room;
  element("chat").search = query;
}

function showProblem(text) {
  element("problem").hidden = !text;
  if (text) element("problem-text").textContent = text;
}

function showPending(count) {
  pendingCount = count;
  document.body.classList.toggle("is-pending", count > 0);
}

function showPeople(names, count) {
  element("people").replaceChildren(...names.map((name) => person(name, name)));
  element("faces").replaceChildren(...names.slice(0, 3).map((name) => person(name, [...name][0])));
  element("count").textContent = count;
}

function person(name, text) {
  const item = document.createElement("li");
  const shown = document.createElement("bdi");
  item.className = colorOf(name);
  shown.textContent = text;
  item.append(shown);
  if (name === connection.user && text === name) item.append(" (you)");
  return item;
}

function announce(text) {
  element("news").textContent = text;
}

// ---- what the user chooses

function chosen(name) {
  return document.querySelector(`input[name=${name}]:checked`).value;
}

function style() {
  return { color: chosen("color"), width: WIDTHS[Number(chosen("width"))] };
}

function chooseTool(name) {
  document.querySelector(`input[name=tool][value=${name}]`).checked = true;
  onTool();
}

function onTool() {
  board.text.close();
  surface.dataset.tool = chosen("tool");
  if (chosen("tool") !== "select") selection.set([]);
}

// What is selected takes a color or width that is chosen.
function restyle() {
  const keys = selection.keys.filter((key) => view.get(key));
  if (keys.length) history.do(new Map(keys.map((key) => [key, { ...view.get(key), ...style() }])));
}

function fit() {
  view.fit({ top: element("top").offsetHeight, bottom: element("toolbar").offsetHeight });
}

function undo() {
  if (!history.undo()) announce("There is nothing to undo");
}

function redo() {
  if (!history.redo()) announce("There is nothing to redo");
}

function remove() {
  const { keys } = selection;
  if (!keys.length) return;
  history.do(new Map(keys.map((key) => [key, null])));
  announce(`${keys.length} deleted`);
}

function clear() {
  const { keys } = shapes;
  if (keys.length) history.do(new Map(keys.map((key) => [key, null])));
}

async function save(kind) {
  const name = `${connection.room ?? "whiteboard"}.${kind}`.replace(/[^\p{L}\p{N}. _-]/gu, "_");
  try {
    const svgFile = () => new Blob([svgOf(view).text], { type: "image/svg+xml" });
    download(kind === "png" ? await pngOf(view) : svgFile(), name);
  } catch {
    showProblem("The picture could not be made: the board may be too large. Try SVG.");
  }
}

async function share() {
  try {
    await navigator.clipboard.writeText(location.href);
    announce("The link is copied");
    element("share").textContent = "Link copied";
  } catch {
    prompt("The link to this board:", location.href);
  }
}

function rename(name) {
  storeName(name);
  showProblem(null);
  connection.rename(name);
}

// ---- what listens to what

view.onCamera = () => {
  cursors.place();
  board.text.place();
  selection.refresh();
  element("zoom").textContent = `${Math.round(view.camera.zoom * 100)} %`;
};
selection.onChange = (keys) => {
  element("remove").disabled = keys.length === 0;
};
history.onChange = () => {
  element("undo").disabled = !history.canUndo;
  element("redo").disabled = !history.canRedo;
};
listenToKeys(surface, board, pointers, { chooseTool, tool: () => tools[chosen("tool")], undo, redo, fit, remove });
const actions = { undo, redo, remove, fit, share, "save-png": () => save("png"), "save-svg": () => save("svg") };
actions["zoom-in"] = () => view.zoomBy(1.25);
actions["zoom-out"] = () => view.zoomBy(0.8);
actions["close-problem"] = () => showProblem(null);
actions.clear = () => element("confirm").showModal();
for (const [id, action] of Object.entries(actions)) element(id).addEventListener("click", action);
for (const id of ["clear", "fit", "save-png", "save-svg"]) element(id).addEventListener("click", () => element("menu").hidePopover?.());
element("confirm").addEventListener("close", () => element("confirm").returnValue === "clear" && clear());
element("tools").addEventListener("change", onTool);
for (const id of ["colors", "widths"]) element(id).addEventListener("change", restyle);
surface.addEventListener("dblclick", ({ clientX, clientY }) => {
  const [x, y] = view.toBoard(clientX, clientY);
  const key = view.find(x, y, 0);
  if (chosen("tool") === "select" && key && view.get(key).type === "text") board.text.open(...view.get(key).points, key);
});
element("name").value = storedName();
element("name-form").addEventListener("submit", (event) => {
  event.preventDefault();
  rename(element("name").value.trim());
});
addEventListener("beforeunload", (event) => {
  if (pendingCount) event.preventDefault();
});
onTool();
showState("connecting");
