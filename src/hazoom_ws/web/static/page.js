"use strict";
// The built-in chat page. Everything that comes from the server is put in place as a text node: text is always text.

const element = (id) => document.getElementById(id);
const TYPING_ENDS_MS = 3000; // after the last key
const TYPING_RENEWAL_MS = 2000; // the server ends an indicator that is not renewed
const ENDS = { cancelled: "stopped", failed: "failed" }; // by finish_reason
const socket = io({ autoConnect: false, transports: ["websocket", "polling"], tryAllTransports: true });
const people = new Map(); // name -> <li>
const typists = new Set();
const answers = new Map(); // request_id -> {line, index}: the <li> that grows, and the index of its last token
const mine = new Set(); // request_ids of the user's own questions
const asked = new Set(); // those of them that are being answered, or wait for that
const shown = new Set(); // ids of the messages in the list
let wanted = null; // the room that the user asked for last
let room = null; // the room that the list shows
let isIn = false; // the server has let us into it
let me = null;
let lastSeq = 0;
let submitted = null; // the last text that was sent off
let draftId = null; // stays the same until the text changes
let typingSentAt = null;
let typingTimer;

function showConnection() {
  let text = me === null ? "the server cannot be reached, trying again …" : "connection lost, coming back …";
  if (socket.connected) text = "connected";
  else if (!socket.active) text = "not connected"; // and it does not try
  element("connection").textContent = text;
}

function showProblem(error) {
  element("problem").textContent = error ? error.message : "";
}

// A request that fails shows why; one that the network lost is sent again by the user.
function request(event, payload, onSuccess = () => {}, onFailure = () => {}) {
  socket.timeout(10000).emit(event, payload, (lost, reply) => {
    if (lost || !reply.ok) {
      showProblem(lost ? new Error("no answer from the server") : reply.error);
      onFailure();
    } else {
      showProblem(null);
      onSuccess(reply);
    }
  });
}

function newId() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4))).join("-");
}

function setAsked(id, runs) {
  if (runs) asked.add(id);
  else asked.delete(id);
  element("stop").hidden = asked.size === 0;
}

// Keeps the end in sight, unless the reader has scrolled away from it.
function changeMessages(change) {
  const list = element("messages");
  const wasAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  change(list);
  if (wasAtEnd) list.scrollTop = list.scrollHeight;
}

function addLine(sender, text, kind) {
  const line = document.createElement("li");
  const name = document.createElement("span");
  name.className = "sender";
  if (kind) line.className = kind;
  line.append(name, document.createElement("span"));
  fillLine(line, sender, text);
  changeMessages((list) => list.append(line));
  return line;
}

function fillLine(line, sender, text) {
  changeMessages(() => {
    line.firstChild.textContent = sender;
    line.lastChild.textContent = text;
  });
}

function showMessage(message) {
  lastSeq = message.seq;
  if (shown.has(message.id)) return;
  shown.add(message.id);
  const streamed = message.kind === "assistant" && answers.get(message.request_id)?.line;
  // Of an answer that died with the server nothing is kept; what was seen of it stays.
  if (streamed) fillLine(streamed, message.user, message.message || streamed.lastChild.textContent);
  const line = streamed || addLine(message.user, message.message, message.kind);
  if (message.kind === "assistant") showEnd(line, message.finish_reason);
}

// Says between the name and the text how it is with an answer, if that is not plain to see.
function setState(line, text) {
  changeMessages(() => {
    if (line.children.length > 2) line.children[1].remove();
    if (!text) return;
    const state = document.createElement("span");
    state.className = "state";
    state.textContent = text;
    line.lastChild.before(state);
  });
}

function showEnd(line, reason) {
  setState(line, [ENDS[reason], line.lastChild.textContent ? null : "no answer"].filter(Boolean).join(", "));
}

// The line of an answer that is on its way.
function answerOf(id) {
  if (!answers.has(id)) {
    answers.set(id, { line: addLine("Assistant", "", "assistant"), index: -1 });
    setState(answers.get(id).line, "…");
  }
  return answers.get(id);
}

function endAnswer(id, reason) {
  const line = answers.get(id)?.line;
  // What is kept has said it already, if it could be kept.
  if (line && line.querySelector(".state")?.textContent === "…") showEnd(line, reason);
  answers.delete(id);
  setAsked(id, false);
}

function showPeople(users, count) {
  people.clear();
  element("people").replaceChildren();
  users.forEach(addPerson);
  element("count").textContent = count;
}

function addPerson(name) {
  if (people.has(name)) return;
  const line = document.createElement("li");
  line.textContent = name === me ? `${name} (you)` : name;
  people.set(name, line);
  element("people").append(line);
}

function showTypists() {
  const names = [...typists];
  element("typing").textContent = names.length ? `${names.join(", ")} ${names.length > 1 ? "are" : "is"} typing …` : "";
}

function setTyping(value) {
  clearTimeout(typingTimer);
  if (!isIn) return;
  if (value) typingTimer = setTimeout(() => setTyping(false), TYPING_ENDS_MS);
  const isOn = typingSentAt !== null;
  if (value ? isOn && Date.now() - typingSentAt < TYPING_RENEWAL_MS : !isOn) return;
  typingSentAt = value ? Date.now() : null;
  socket.volatile.emit("typing", { room, is_typing: value });
}

// Whoever is not in the room can send nothing, and gets what is said there with room_joined.
function setIn(value) {
  isIn = value;
  element("send").disabled = element("ask").disabled = !value;
  if (value) return;
  clearTimeout(typingTimer);
  typingSentAt = null; // leaving and dropping end it on the server
  typists.clear();
  showTypists();
}

function enter(name) {
  setIn(false);
  if (name !== room) {
    room = name;
    element("board").search = `?room=${encodeURIComponent(name)}`;
    element("messages").replaceChildren();
    answers.clear();
    shown.clear();
    lastSeq = 0;
  }
  // Without an acknowledgement, which would have the messages instead of room_joined, and come after what runs in the room.
  socket.emit("join_room", lastSeq ? { room, since: lastSeq } : { room });
}

function submit(event, payload, onFailure) {
  const field = element("text");
  const message = field.value;
  if (!message.trim()) return false;
  const attempt = (submitted = {});
  setTyping(false);
  request(event, { room, message, ...payload }, () => {
    // What was typed since then stays.
    if (submitted === attempt && field.value.startsWith(message)) field.value = field.value.slice(message.length);
  }, onFailure);
  return true;
}

socket.on("connect", () => {
  showConnection();
  showProblem(null);
});
socket.on("disconnect", () => {
  showConnection();
  setIn(false);
  asked.forEach((id) => setAsked(id, false));
});
socket.on("connect_error", (error) => {
  showConnection();
  if (!socket.active) showProblem(error);
});
socket.on("status", (status) => {
  me = status.user;
  element("name").placeholder = me;
  wanted ||= element("room").value.trim() || status.rooms[0] || "general";
  element("room").value ||= wanted;
  status.rooms.filter((name) => name !== wanted).forEach((name) => request("leave_room", { room: name }));
  // A client that has recovered is still in the room and is sent what it missed; joining again tells the rest.
  const isStillIn = status.recovered && room === wanted && status.rooms.includes(room);
  enter(wanted);
  if (isStillIn) setIn(true);
});
socket.on("room_joined", (joined) => {
  if (joined.room !== room) return;
  if (!isIn) showProblem(null);
  setIn(true);
  showPeople(joined.users, joined.user_count);
  if (!joined.complete) {
    lastSeq = 0; // it may be from before the server lost its memory
    addLine("", "… earlier messages are not shown …", "gap");
  }
  joined.messages.forEach(showMessage);
});
socket.on("user_joined", (joined) => {
  if (joined.room !== room) return;
  addPerson(joined.user);
  element("count").textContent = joined.user_count;
});
socket.on("user_left", (left) => {
  if (left.room !== room) return;
  people.get(left.user)?.remove();
  people.delete(left.user);
  element("count").textContent = left.user_count;
});
socket.on("new_message", (message) => {
  if (isIn && message.room === room) showMessage(message);
});
socket.on("user_typing", ({ user, is_typing: active, room: where }) => {
  if (where !== room) return;
  if (active) typists.add(user);
  else typists.delete(user);
  showTypists();
});
socket.on("llm_started", ({ request_id: id, room: where }) => {
  if (!isIn || where !== room) return;
  if (mine.has(id)) setAsked(id, true);
  answerOf(id);
});
socket.on("llm_token", ({ request_id: id, token, index, room: where, snapshot }) => {
  if (!isIn || where !== room) return;
  if (mine.has(id)) setAsked(id, true); // also after a lost connection
  const answer = answerOf(id);
  if (!snapshot && index <= answer.index) return; // it came before the connection was lost
  answer.index = snapshot ? 0 : index;
  const text = answer.line.lastChild;
  if (token && !text.textContent) setState(answer.line, null);
  changeMessages(() => (snapshot ? text.replaceChildren(token) : text.append(token)));
});
socket.on("llm_queued", ({ request_id: id, position }) => {
  if (mine.has(id)) setAsked(id, true);
  showProblem({ message: `The AI is busy: your question is number ${position} in the queue.` });
});
socket.on("llm_complete", ({ request_id: id, finish_reason: reason }) => endAnswer(id, reason));
socket.on("llm_error", ({ request_id: id, message }) => {
  endAnswer(id, "failed");
  showProblem({ message });
});
socket.on("error", showProblem);

element("entrance").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = element("name").value.trim();
  if (!element("room").value.trim()) return;
  wanted = element("room").value.trim();
  if ((name && name !== me) || !socket.active) {
    // A name belongs to a connection, so a new name takes a new one.
    if (name) socket.auth = { user_name: name };
    socket.disconnect().connect();
  } else if (socket.connected && (wanted !== room || !isIn)) {
    if (room !== null && wanted !== room) request("leave_room", { room });
    enter(wanted);
  }
});
element("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  // The same id on a second try makes the server keep the message once.
  draftId ||= newId();
  submit("message", { client_id: draftId });
});
element("ask").addEventListener("click", () => {
  const id = newId();
  mine.add(id);
  if (submit("llm_request", { request_id: id }, () => setAsked(id, false))) setAsked(id, true);
});
element("stop").addEventListener("click", () => asked.forEach((id) => request("llm_cancel", { request_id: id })));
element("text").addEventListener("input", () => {
  draftId = null;
  setTyping(element("text").value !== "");
});

element("room").value = new URLSearchParams(location.search).get("room") ?? "";
socket.connect();
