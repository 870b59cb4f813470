"use strict";
// Official clients that live for so many seconds and do what the weights say; the report is one line of JSON on stdout.
// Called with one argument, JSON: {url, clients, seconds, weights: {action: weight}, transports, pause_ms}.
// The transports are lists as io() takes them, taken in turn; pause_ms is [least, most].
// An action that ends a client (leave, vanish) replaces it with somebody new.

const { io } = require("socket.io-client");

const { url, clients, seconds, weights, transports: allTransports, pause_ms: [leastPause, mostPause] } = JSON.parse(process.argv[2]);
const ROOMS = ["tea", "garden", "music", "books"];
const TEXT = "and so it went on, as it had for a long time ".repeat(9).slice(0, 392);
const ACK_TIMEOUT_MS = 15000;
const counts = {};
const endsAt = Date.now() + seconds * 1000;
let people = 0;

const count = (name, by = 1) => (counts[name] = (counts[name] ?? 0) + by);
const anyOf = (list) => list[Math.floor(Math.random() * list.length)];
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const isOver = () => Date.now() >= endsAt;

function pick() {
  let left = Math.random() * Object.values(weights).reduce((sum, weight) => sum + weight, 0);
  for (const [action, weight] of Object.entries(weights)) {
    if ((left -= weight) < 0) return action;
  }
}

const actions = {
  say: ({ call, room }) => call("message", { room, message: `${TEXT}${Date.now() % 1e8}`, client_id: crypto.randomUUID() }),
  type: ({ socket, room }) => socket.emit("typing", { room, is_typing: Math.random() < 0.7 }),
  history: ({ call, room }) => call("get_history", { room, limit: 20 }),
  rejoin: ({ call, room }) => call("join_room", { room, history: 10 }),
  stats: ({ call }) => call("get_stats"),
  ask: (person) => person.ask({ message: "how is the weather?" }),
  ask_room: (person) => person.ask({ message: "what do you all think?", room: person.room }),
  ask_whole: (person) => person.ask({ message: "in one piece?", stream: false }),
  ask_fail: (person) => person.ask({ message: "fail" }),
  ask_cut: (person) => person.ask({ message: "cut" }),
  async cancel(person) {
    const id = await person.ask({ message: "a long one, please" });
    await sleep(100);
    await person.call("llm_cancel", { request_id: id });
  },
  unknown: ({ call }) => call("no_such_event", { x: 1 }),
  bad_payload: ({ call }) => call("message", { message: 1 }),
  // A tunnel: the connection ends without a word, and the client comes back by itself.
  drop({ socket }) {
    socket.io.engine?.close();
    count("drops");
  },
  async ask_and_drop(person) {
    await person.ask({ message: "will I see the end of this?" });
    await sleep(50);
    actions.drop(person);
  },
  leave({ socket }) {
    socket.disconnect();
    count("left");
    return "gone";
  },
  // The lid is closed: no word, and nobody comes back.
  vanish({ socket }) {
    socket.io.reconnection(false);
    socket.io.engine?.close();
    count("vanished");
    return "gone";
  },
};

async function live(number) {
  const name = `Person ${++people}`;
  const transports = allTransports[number % allTransports.length];
  const socket = io(url, { forceNew: true, transports, auth: { user_name: name }, reconnectionDelay: 200, reconnectionDelayMax: 1000 });
  const room = ROOMS[number % ROOMS.length];
  const call = async (event, ...args) => {
    try {
      const reply = await socket.timeout(ACK_TIMEOUT_MS).emitWithAck(event, ...args);
      count(reply.ok ? `${event}_ok` : `${event}_${reply.error.code}`);
      return reply;
    } catch {
      count(`${event}_lost`);
    }
  };
  const ask = async (fields) => {
    const id = crypto.randomUUID();
    await call("llm_request", { request_id: id, ...fields });
    return id;
  };
  const person = { socket, room, call, ask };
  socket.on("connect", () => {
    count(socket.recovered ? "recovered" : "connected");
    if (!socket.recovered) call("join_room", { room, history: 20 });
  });
  for (const event of ["new_message", "llm_token", "llm_error", "error"]) socket.on(event, () => count(`received_${event}`));
  socket.on("llm_complete", ({ finish_reason: reason }) => count(`received_llm_complete_${reason}`));
  while (!isOver()) {
    await sleep(leastPause + Math.random() * (mostPause - leastPause));
    if (socket.connected && (await actions[pick()](person)) === "gone") return;
  }
  socket.disconnect();
}

async function seat(number) {
  while (!isOver()) await live(number);
}

Promise.all(Array.from({ length: clients }, (_, number) => seat(number))).then(() => {
  process.stdout.write(`${JSON.stringify({ people, ...counts })}\n`, () => process.exit(0));
});
