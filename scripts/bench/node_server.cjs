// The reference: socket.io on Node with its default options, speaking what the benchmark needs of our events.
"use strict";

const { createServer } = require("node:http");
const { Server } = require("socket.io");

const httpServer = createServer((request, response) => {
  const found = request.url === "/health";
  response.writeHead(found ? 200 : 404, { "Content-Type": "application/json" });
  response.end(found ? JSON.stringify({ status: "healthy", active_connections: io.engine.clientsCount }) : "{}");
});
const io = new Server(httpServer);
const relay = process.env.HAZOOM_LLM_URL ? require("./node_relay.cjs") : null;
let seq = 0;

io.on("connection", (socket) => {
  const user = socket.handshake.auth.user_name ?? `Guest-${socket.id.slice(0, 4)}`;
  socket.emit("status", { connected: true, message: "Connected", sid: socket.id, user });

  socket.on("join_room", ({ room = "general" } = {}, acknowledge) => {
    socket.join(room);
    acknowledge?.({ ok: true, room, user_count: io.sockets.adapter.rooms.get(room).size });
  });

  socket.on("message", ({ room = "general", message }, acknowledge) => {
    const entry = { user, message, timestamp: Date.now() / 1000, room, id: `${process.pid}-${++seq}`, seq };
    io.to(room).emit("new_message", entry);
    acknowledge?.({ ok: true, id: entry.id, seq, timestamp: entry.timestamp, duplicate: false });
  });

  // Positions as users of socket.io write them: each is broadcast.
  socket.on("relay", ({ room = "general", channel, key, data }) => {
    socket.to(room).emit("relay", { client: socket.id, channel, key, data });
  });

  if (relay) socket.on("llm_request", (payload) => relay(socket, user, payload));
});

if (process.env.BENCH_LIVE) new (require("y-socket.io/dist/server").YSocketIO)(io).initialize();

async function shareOverRedis() {
  const { createClient } = require("redis");
  const publisher = createClient({ url: process.env.REDIS_URL });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  io.adapter(require("@socket.io/redis-adapter").createAdapter(publisher, subscriber));
}

(process.env.REDIS_URL ? shareOverRedis() : Promise.resolve()).then(() =>
  httpServer.listen(0, "127.0.0.1", () => console.log(`node ready on http://127.0.0.1:${httpServer.address().port}`)),
);
