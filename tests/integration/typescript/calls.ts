// What the compiler is to accept, and what it is to reject: a line below @ts-expect-error that compiles is an error itself.
// events.d.ts, which is made of the features, is put beside it by the test; it is never run.

import { io, type Socket } from "socket.io-client";
import type { Auth, ChatSocket, ClientToServerEvents, ConnectError, ErrorCode, NewMessage, ServerToClientEvents, Status } from "./events";

const auth: Auth = { user_name: "Ann", recover: true };
const socket: ChatSocket = io("http://localhost:5000", { auth });
const plain: Socket<ServerToClientEvents, ClientToServerEvents> = io("http://localhost:5000");

// @ts-expect-error: no such field
const wrongAuth: Auth = { username: "Ann" };

// Sending, without asking for an answer

socket.emit("message", { message: "hello" });
socket.emit("message", { message: "hello", room: undefined, client_id: null });
socket.emit("typing", {}).emit("typing", { is_typing: false });
socket.emit("get_stats");
socket.emit("get_stats", null);
socket.emit("get_rooms", { prefix: "te" });
socket.emit("relay", { channel: "cursor", data: new Uint8Array(4), key: "me" });
socket.volatile.emit("relay", { channel: "cursor", data: { x: 1 } }, () => {});
// @ts-expect-error: an event that there is not
socket.emit("mesage", { message: "hello" });
// @ts-expect-error: the server sends it
socket.emit("new_message", { message: "hello" });
// @ts-expect-error: no payload
socket.emit("message");
// @ts-expect-error: a required field is missing
socket.emit("message", { room: "team" });
// @ts-expect-error: a field of another type
socket.emit("message", { message: 7 });
// @ts-expect-error: a field that there is not
socket.emit("message", { message: "hello", rom: "team" });
// @ts-expect-error: a level that there is not
socket.emit("llm_request", { message: "Why?", intelligence_level: "genius" });
// @ts-expect-error: it has no fields
socket.emit("get_stats", { room: "team" });

// Sending, and hearing what became of it

socket.emit("message", { message: "hello" }, (reply) => {
  if (reply.ok) {
    const seq: number = reply.seq;
    // @ts-expect-error: it has succeeded
    reply.error;
  } else {
    const code: ErrorCode = reply.error.code;
    // @ts-expect-error: a code that there is not
    if (code === "bad_paylod") return;
    // @ts-expect-error: it has failed
    reply.seq;
  }
  // @ts-expect-error: first look whether it has succeeded
  reply.id;
});
socket.emit("get_stats", (reply) => reply.ok && reply.llm.circuit === "half_open");

export async function asked(): Promise<void> {
  const joined = await socket.emitWithAck("join_room", { room: "team", history: 10 });
  if (joined.ok) joined.messages?.map((message: NewMessage) => message.seq);
  const stats = await socket.emitWithAck("get_stats");
  if (stats.ok) stats.active_users.toFixed();
  const state = await socket.timeout(1000).emitWithAck("state_get", {});
  if (state.ok) state.values.score;
  const typing = await socket.emitWithAck("typing", {});
  if (!typing.ok) typing.error.retry_at?.toFixed();
  socket.timeout(1000).emit("message", { message: "hello" }, (error: Error | null, reply) => reply.ok && reply.id);
  // @ts-expect-error: a field of another type
  await socket.emitWithAck("join_room", { room: 7 });
  // @ts-expect-error: no payload
  await socket.emitWithAck("join_room");
  // @ts-expect-error: it has no such field
  if (joined.ok) joined.names;
  const said = await plain.emitWithAck("message", { message: "hello" });
  if (said.ok) said.duplicate;
}

// Receiving

socket.on("new_message", (message) => message.kind === "assistant" && message.finish_reason === "failed" && message.code);
socket.on("new_message", (message, offset) => offset?.length);
socket.on("status", (status: Status) => status.limits.message_bytes);
socket.on("state", ({ values }) => values.score);
socket.on("error", (refusal) => (refusal.code === "conflict" ? refusal.key : refusal.retry_at));
socket.on("connect_error", (error) => (error as ConnectError).data?.code === "unauthorized");
socket.on("bye", ({ reconnect, retry_after_ms }) => reconnect && retry_after_ms);
// @ts-expect-error: an event that there is not
socket.on("message", () => {});
// @ts-expect-error: it has no such field
socket.on("new_message", (message) => message.text);
// @ts-expect-error: it may be missing
socket.on("llm_token", ({ room }) => room.length);
// @ts-expect-error: it has no offset
socket.on("user_typing", (typing, offset) => offset);
// @ts-expect-error: what is relayed may be anything
socket.on("relay", ({ items }) => items[0]?.data.x);

// Other namespaces

const rooms: ChatSocket<"/rooms"> = io("http://localhost:5000/rooms");
rooms.emit("message", { message: "hello" });
rooms.emit("refresh_token", { token: "..." });
// @ts-expect-error: /rooms does not carry it
rooms.emit("typing", {});
// @ts-expect-error: /rooms does not carry it
rooms.on("llm_token", () => {});
// @ts-expect-error: no such namespace
const none: ChatSocket<"/room"> = io("http://localhost:5000/room");
