// The same for features of an application: tests/features/.

import { io } from "socket.io-client";
import type { ChatSocket } from "./events";

const socket: ChatSocket = io("http://localhost:5000");
const polls: ChatSocket<"/polls"> = io("http://localhost:5000/polls");

export async function vote(): Promise<number | undefined> {
  const reply = await polls.emitWithAck("vote", { poll: "tea", option: "green" });
  // @ts-expect-error: a required field is missing
  await socket.emitWithAck("vote", { poll: "tea" });
  // @ts-expect-error: a code that there is not
  if (!reply.ok && reply.error.code === "never_voted") return undefined;
  if (!reply.ok && reply.error.code === "already_voted") return undefined;
  return reply.ok ? reply.seq : undefined;
}

socket.on("poll_state", (poll, offset) => [poll.votes.green?.toFixed(), offset?.length]);
// @ts-expect-error: it has no such field
socket.on("poll_state", (poll) => poll.winner);
// @ts-expect-error: /polls does not carry it
polls.emit("message", { message: "hello" });
