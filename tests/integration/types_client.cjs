// Does what clients do, and says what came: for each event the numbers of its arguments and its payloads, and each answer.

"use strict";
const { io } = require("socket.io-client");

const [url] = process.argv.slice(2);
const received = {};
const replies = {};

function open(namespace, auth) {
  const socket = io(`${url}${namespace}`, { auth, transports: ["websocket"], forceNew: true });
  socket.onAny((event, ...all) => (received[event] ??= []).push({ count: all.length, payload: all[0] }));
  return new Promise((opened) => socket.on("status", () => opened(socket)));
}

async function main() {
  const ann = await open("/", { user_name: "Ann" });
  const ben = await open("/", { user_name: "Ben" });
  const until = (socket, event) => new Promise((came) => socket.once(event, came));

  async function ask(socket, event, ...payload) {
    replies[event] = await socket.emitWithAck(event, ...payload);
  }

  await ask(ann, "join_room", { room: "team", history: 5 });
  ben.emit("join_room", { room: "team" });
  await until(ben, "room_joined");
  const isTyping = until(ann, "user_typing");
  await ask(ben, "typing", { room: "team" });
  await isTyping;
  await ask(ann, "message", { room: "team", message: "hello", client_id: "1" });
  await ask(ann, "get_history", { room: "team" });
  await ask(ann, "get_rooms");
  await ask(ann, "get_stats");
  const isSampled = until(ann, "stats_tick");
  await ask(ann, "stats_subscribe");
  await isSampled;
  await ask(ann, "stats_unsubscribe");
  const isRelayed = until(ben, "relay");
  await ask(ann, "relay", { room: "team", channel: "cursor", key: "me", data: { x: 1 } });
  await isRelayed;
  await ask(ann, "state_set", { room: "team", values: { score: 1 } });
  await ask(ann, "state_get", { room: "team" });
  const isAnswered = until(ann, "llm_complete");
  await ask(ann, "llm_request", { message: "Why?", room: "team", request_id: "first" });
  await isAnswered;
  await ask(ann, "llm_resume", { request_id: "first", index: 0 });
  const isWhole = until(ann, "llm_response");
  ann.emit("llm_request", { message: "Why?", stream: false, request_id: "second" });
  await isWhole;
  ann.emit("llm_request", { message: "Why?", request_id: "third" });
  await ask(ann, "llm_cancel", { request_id: "third" });
  await ask(ann, "refresh_token", { token: "none is needed here" });
  ann.emit("message", { message: "" });
  await until(ann, "error");
  await ask(ben, "leave_room", { room: "team" });
  replies.refused = await ben.emitWithAck("message", { room: "team", message: "hello" });
  console.log(JSON.stringify({ received, replies }));
  process.exit();
}

main();
