// The chat page: joins its parts.

import { Answers } from "./answers.js";
import { copy } from "./clipboard.js";
import { Composer } from "./composer.js";
import { Connection } from "./connection.js";
import { paintSoon } from "./frames.js";
import { listenToKeys } from "./keyboard.js";
import { MessageList } from "./message_list.js";
import { Notices, beep, showTitle } from "./notices.js";
import { Outbox } from "./outbox.js";
import { PeoplePanel } from "./people_panel.js";
import { PrivateTalks } from "./private_talk.js";
import { Rooms } from "./rooms.js";
import { Settings } from "./settings.js";
import { Sidebar } from "./sidebar.js";

const RECOVERED_MS = 4000; // for so long it is said
const SPOKEN_CHARS = 200; // of a message that a screen reader is told
const STATES = {
  connecting: "Connecting …",
  connected: "Connected",
  recovered: "Connected again",
  offline: "Offline: connecting again …",
  refused: "Not connected",
};
const element = (id) => document.getElementById(id);
const url = new URL(location.href);

// ---- the parts

const connection = new Connection({ onState: showState, onStatus: begin, onProblem: showProblem });
const answers = new Answers(connection, { onNew: showAnswer, onEnd: endAnswer });
const talks = new PrivateTalks(answers);
const settings = new Settings({ onName: (name) => connection.connectAs(name), onSound: beep });
const rooms = new Rooms(connection, answers, url.searchParams.get("room")?.trim() || null, {
  onList: showListSoon,
  onCurrent: showRoom,
  onPeople: (room) => room === rooms.current && people.show(room, connection.user),
  onTyping: (room) => room === rooms.current && people.showTypists(room),
  onMessage: takeMessage,
  onIn: () => outbox.flush(),
  onNews: announce,
  isSeen: () => list.isSeen,
});
const outbox = new Outbox(connection, {
  mayEnter: (name) => rooms.get(name)?.isIn ?? false,
  onSent: confirm,
  onChange: () => rooms.current && list.showPending(outbox.of(rooms.current.name)),
});
const list = new MessageList({
  me: () => connection.user,
  isMention: ({ isOwn, text }) => !isOwn && rooms.isNamedIn(text),
  onSeen: () => rooms.markRead(),
  retry: (id) => outbox.retry(id),
  remove: (id) => outbox.remove(id),
  edit: ({ id, text }) => {
    outbox.remove(id);
    composer.text = text;
    composer.focus();
  },
  stop: (answer) => answers.stop(answer),
  askAgain: ({ question, level, room }) => send({ text: question, level: level ?? "super", isPrivate: room === null }),
});
const people = new PeoplePanel();
const sidebar = new Sidebar(rooms, connection, { onChoose: choose });
const composer = new Composer({
  onSend: send,
  onTyping: (isTyping) => rooms.current?.isIn && connection.tell("typing", { room: rooms.current.name, is_typing: isTyping }),
  onProblem: showProblem,
});
const notices = new Notices(settings, choose);
const isTouch = matchMedia("(pointer: coarse)").matches;
let shownRoom = null;
let recoveredTimer = null;

// ---- what the connection says

function showState(state) {
  clearTimeout(recoveredTimer);
  document.body.dataset.state = state;
  element("connection").textContent = STATES[state];
  element("reconnect").hidden = state !== "refused";
  if (state === "recovered") recoveredTimer = setTimeout(() => showState("connected"), RECOVERED_MS);
  if (state !== "offline" && state !== "refused") return;
  rooms.pause();
  composer.forgetTyping();
}

function begin(status) {
  settings.showMe(connection);
  composer.limitBytes = connection.limits.message_bytes;
  element("join-room").maxLength = connection.limits.room_name_chars ?? 128;
  answers.begin(status.recovered);
  rooms.begin(status);
  sidebar.refresh();
}

function showProblem(text) {
  element("problem").hidden = !text;
  element("problem-text").textContent = text ?? "";
}

function announce(text) {
  element("news").textContent = text;
}

// ---- rooms

function choose(name) {
  if (name === rooms.current?.name) return;
  history.pushState(null, "", addressOf(name));
  rooms.show(name);
  if (!isTouch) composer.focus(); // on a phone that would bring the keyboard out
}

function addressOf(name) {
  const address = new URL(location.href);
  address.searchParams.set("room", name);
  return address;
}

function showRoom() {
  const room = rooms.current;
  if (room !== shownRoom) {
    if (shownRoom) {
      composer.endTyping();
      composer.forgetTyping();
      shownRoom.draft = composer.text;
      composer.text = room.draft;
    }
    shownRoom = room;
    if (new URLSearchParams(location.search).get("room") !== room.name) history.replaceState(null, "", addressOf(room.name));
    showProblem(null);
  }
  const { name, problem } = room;
  element("room").textContent = name;
  element("empty-room").textContent = name;
  for (const page of ["board", "document"]) element(page).search = `?room=${encodeURIComponent(name)}`;
  element("refused").hidden = !problem;
  element("refused-text").textContent = problem ?? "";
  composer.setRoom(name);
  list.use(room.timeline, room.unread ? room.readSeq : null);
  if (room.timeline.isLoaded) talks.restore(room, connection.user);
  list.showPending(outbox.of(name));
  people.show(room, connection.user);
  people.showTypists(room);
  showList();
}

function showList() {
  if (!rooms.current) return;
  sidebar.show();
  showTitle(rooms.all, rooms.current);
  const unread = rooms.all.reduce((sum, room) => sum + (room === rooms.current ? 0 : room.unread), 0);
  element("unread-elsewhere").hidden = unread === 0;
}

function showListSoon() {
  if (document.visibilityState === "hidden") showList(); // the title is seen, and no frame comes
  else paintSoon(showList);
}

function takeMessage(room, message, isMention) {
  showListSoon();
  const isShown = room === rooms.current;
  if (isShown) people.showTypists(room);
  if (connection.isOwn(message)) {
    const sent = outbox.remove(message.kind === "prompt" ? message.request_id : message.client_id);
    if (sent?.level) expectAnswer(sent);
    return;
  }
  notices.take(message, isShown, isMention);
  if (isShown && message.kind !== "assistant") announce(`${message.user}: ${message.message.slice(0, SPOKEN_CHARS)}`);
}

// ---- what one says

function send(said) {
  const room = rooms.current;
  if (!room) return false;
  if (!outbox.add({ room: room.name, ...said })) {
    showProblem("Too many messages wait to be sent.");
    return false;
  }
  list.toEnd();
  return true;
}

// The server has taken what was in the outbox.
function confirm(entry, reply) {
  const { id, room: name, text, level, isPrivate } = entry;
  const timeline = rooms.get(name)?.timeline;
  if (!level) {
    const { id: messageId, seq, timestamp } = reply;
    const { user, userId } = connection;
    timeline?.confirm({ id: messageId, seq, timestamp, user, user_id: userId, message: text, room: name, client_id: id });
    return;
  }
  if (isPrivate) timeline?.addPrivateQuestion(entry, connection.user);
  expectAnswer(entry);
}

function expectAnswer(entry) {
  const { id, room: name, text, level, isPrivate } = entry;
  const answer = answers.expect(id, isPrivate ? null : name, text, level);
  if (isPrivate) talks.add(entry, answer);
  rooms.get(name)?.timeline.addAnswer(answer);
}

// ---- answers

function showAnswer(answer) {
  if (answer.room !== null) rooms.get(answer.room)?.timeline.addAnswer(answer);
  if (answer.room === rooms.current?.name) announce("The AI is answering");
}

function endAnswer(answer) {
  if (answer.room === null) talks.end(answer);
  if (answer.room !== null && answer.room !== rooms.current?.name) return;
  announce(answer.state === "failed" ? `The AI has failed. ${answer.error?.message ?? ""}` : "The AI has answered");
}

// ---- what listens to what

// What nobody asked about: a room that one is put out of, a token that ends.
connection.on("error", ({ event, message }) => event !== "typing" && showProblem(message));
element("close-problem").addEventListener("click", () => showProblem(null));
element("reconnect").addEventListener("click", () => connection.connectAs(settings.name));
element("leave").addEventListener("click", () => {
  element("room-menu").hidePopover?.();
  const { name } = rooms.current;
  for (const { id } of outbox.of(name)) outbox.remove(id);
  rooms.leave(name);
});
for (const id of ["share", "invite"]) {
  element(id).addEventListener("click", () => {
    const address = new URL(location.pathname, location.href);
    address.searchParams.set("room", rooms.current?.name ?? "general");
    copy(address.href, element(id));
  });
}
for (const button of document.querySelectorAll("[data-ask]")) {
  button.addEventListener("click", () => {
    composer.setAsking(true);
    composer.text = button.dataset.ask;
    composer.focus();
  });
}
element("try-room").addEventListener("click", () => connection.connectAs(settings.name));
element("open-keys").addEventListener("click", () => element("keys").showModal());
addEventListener("popstate", () => rooms.show(new URLSearchParams(location.search).get("room") || "general"));
document.addEventListener("visibilitychange", () => rooms.markRead());
listenToKeys({
  focusComposer: () => composer.focus(),
  toggleAsking: () => composer.setAsking(!composer.isAsking),
  chooseRoom: (step) => {
    const { all, current } = rooms;
    choose(all[(all.indexOf(current) + step + all.length) % all.length].name);
  },
  scroll: (pages) => list.scrollByPages(pages),
  toEnd: () => list.toEnd(),
  help: () => element("keys").showModal(),
});
connection.connectAs(settings.name);
