"use strict";
// The built-in chat page. Everything that comes from the server is put in place with textContent: text is always text.

const element = (id) => document.getElementById(id);
const socket = io({ autoConnect: false, transports: ["websocket", "polling"] });
const people = new Map(); // name -> <li>
const typists = new Set();
const answers = new Map(); // request_id -> <span> that grows
let room = null;
let me = null;
let lastSeq;
let isTyping = false;
let typingTimer;

function showProblem(error) {
  element("problem").textContent = error ? error.message : "";
}

// A request that fails shows why; one that the network lost is sent again by the user.
function request(event, payload, onSuccess = () => {}) {
  socket.timeout(10000).emit(event, payload, (lost, reply) => {
    if (lost) showProblem(new Error("no answer from the server"));
    else if (!reply.ok) showProblem(reply.error);
    else {
      showProblem(null);
      onSuccess(reply);
    }
  });
}

function addLine(sender, text, kind) {
  const line = document.createElement("li");
  const name = document.createElement("span");
  const body = document.createElement("span");
  name.className = "sender";
  name.textContent = sender;
  body.textContent = text;
  if (kind) line.className = kind;
  line.append(name, body);
  const list = element("messages");
  const wasAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(line);
  if (wasAtEnd) list.scrollTop = list.scrollHeight;
  return body;
}

function showMessage(message) {
  if (message.room !== room || message.seq <= lastSeq) return;
  lastSeq = message.seq;
  const streamed = message.kind === "assistant" && answers.get(message.request_id);
  if (streamed) streamed.textContent = message.message;
  else addLine(message.user, message.message, message.kind);
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
  if (value) typingTimer = setTimeout(() => setTyping(false), 3000);
  if (value !== isTyping) {
    isTyping = value;
    socket.volatile.emit("typing", { room, is_typing: value });
  }
}

function enter(name) {
  const back = name === room;
  if (!back) {
    if (room !== null) request("leave_room", { room });
    element("messages").replaceChildren();
    answers.clear();
    lastSeq = 0;
  }
  room = name;
  typists.clear();
  showTypists();
  request("join_room", { room, ...(back && lastSeq ? { since: lastSeq } : {}) });
}

socket.on("connect", () => {
  element("connection").textContent = "connected";
  showProblem(null);
});
socket.on("disconnect", () => {
  element("connection").textContent = "connection lost, coming back …";
  isTyping = false;
});
socket.on("connect_error", (error) => {
  element("connection").textContent = "not connected";
  showProblem(error);
});
socket.on("status", (status) => {
  me = status.user;
  element("name").placeholder = me;
  const wanted = room || element("room").value || status.rooms[0] || "general";
  element("room").value = wanted;
  status.rooms.filter((name) => name !== wanted).forEach((name) => request("leave_room", { room: name }));
  enter(wanted);
});
socket.on("room_joined", (joined) => {
  if (joined.room !== room) return;
  // A seq from before the server lost its memory would hide everything that is said now.
  if (joined.messages.length && joined.messages[joined.messages.length - 1].seq < lastSeq) lastSeq = 0;
  showPeople(joined.users, joined.user_count);
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
socket.on("new_message", showMessage);
socket.on("user_typing", ({ user, is_typing: active, room: where }) => {
  if (where !== room) return;
  if (active) typists.add(user);
  else typists.delete(user);
  showTypists();
});
socket.on("llm_token", ({ request_id: id, token, room: where }) => {
  if (where !== room) return;
  if (!answers.has(id)) answers.set(id, addLine("AI", "", "assistant"));
  answers.get(id).textContent += token;
  const list = element("messages");
  list.scrollTop = list.scrollHeight;
});
socket.on("llm_complete", ({ request_id: id }) => answers.delete(id));
socket.on("llm_error", ({ request_id: id, message }) => {
  answers.delete(id);
  showProblem({ message });
});
socket.on("error", showProblem);

element("entrance").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = element("name").value.trim();
  const wanted = element("room").value.trim();
  if (!wanted) return;
  if (name && name !== me) {
    // A name belongs to a connection, so a new name takes a new one.
    if (wanted !== room) {
      room = null;
      element("messages").replaceChildren();
      answers.clear();
      lastSeq = 0;
    }
    socket.auth = { user_name: name };
    socket.disconnect().connect();
  } else if (wanted !== room) {
    enter(wanted);
  }
});
element("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const message = element("text").value;
  if (!message.trim()) return;
  // The same id on a second try makes the server keep the message once.
  const id = (element("text").dataset.clientId ||= Array.from(crypto.getRandomValues(new Uint32Array(4))).join("-"));
  setTyping(false);
  request("message", { room, message, client_id: id }, () => {
    if (element("text").dataset.clientId !== id) return;
    element("text").value = "";
    delete element("text").dataset.clientId;
  });
});
element("ask").addEventListener("click", () => {
  const message = element("text").value;
  if (!message.trim()) return;
  setTyping(false);
  request("llm_request", { room, message }, () => {
    element("text").value = "";
  });
});
element("text").addEventListener("input", () => {
  delete element("text").dataset.clientId;
  setTyping(element("text").value !== "");
});

socket.connect();
