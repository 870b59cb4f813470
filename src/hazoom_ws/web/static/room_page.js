// What surrounds a whiteboard and a document: the name of the room, the state of the connection, who is here, what went
// wrong, the link to share, one's own name. The templates have the elements.

import { storedName, storeName } from "./identity.js";
import { colorOf } from "./people.js";

const RECOVERED_MS = 4000; // for so long it is said
const STATES = {
  connecting: "Connecting …",
  connected: "Connected",
  recovered: "Connected again",
  offline: "Offline",
  refused: "Not connected",
};
let recoveredTimer = null;

export const element = (id) => document.getElementById(id);

export function showState(state) {
  document.body.dataset.state = state;
  element("connection").textContent = STATES[state];
  element("offline").hidden = state !== "offline";
  clearTimeout(recoveredTimer);
  if (state === "recovered") recoveredTimer = setTimeout(() => showState("connected"), RECOVERED_MS);
}

// ``kind``: what the page shows of the room. The other pages of the room are linked by elements of the class to-room.
export function showRoom(room, kind) {
  const query = `?room=${encodeURIComponent(room)}`;
  if (location.search !== query) history.replaceState(null, "", query);
  document.title = `${room} – ${kind}`;
  element("room").textContent = room;
  for (const link of document.querySelectorAll(".to-room")) link.search = query;
}

// None if the text is null.
export function showProblem(text) {
  element("problem").hidden = !text;
  if (text) element("problem-text").textContent = text;
}

// ``names``: of some who are here, at least; ``own``: the user's.
export function showPeople(names, count, own) {
  element("people").replaceChildren(...names.map((name) => person(name, name, name === own)));
  element("faces").replaceChildren(...names.slice(0, 3).map((name) => person(name, [...name][0])));
  element("count").textContent = count;
}

function person(name, text, isOwn = false) {
  const item = document.createElement("li");
  const shown = document.createElement("bdi");
  item.className = colorOf(name);
  shown.textContent = text;
  item.append(shown);
  if (isOwn) item.append(" (you)");
  return item;
}

// Says something to who hears the page.
export function announce(text) {
  element("news").textContent = text;
}

// ``onName(name)`` is called when the user has chosen another name.
export function listenToPanels(onName) {
  element("share").addEventListener("click", share);
  element("close-problem").addEventListener("click", () => showProblem(null));
  element("name").value = storedName();
  element("name-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = element("name").value.trim();
    storeName(name);
    showProblem(null);
    onName(name);
  });
}

async function share() {
  try {
    await navigator.clipboard.writeText(location.href);
    announce("The link is copied");
    element("share").textContent = "Link copied";
  } catch {
    prompt("The link to this page:", location.href);
  }
}

// Gives the user a file. ``title``: of which its name is made, with ``ending``.
export function download(blob, title, ending) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${title}.${ending}`.replace(/[^\p{L}\p{N}. _-]/gu, "_");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
