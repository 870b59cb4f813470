"use strict";
// The official client, driven by JSON lines on stdin; reports on stdout. See OfficialClient in tests/servers.py.

const { createInterface } = require("node:readline");
const { io } = require("socket.io-client");

const ACK_TIMEOUT_MS = 15000;
const sockets = new Map();
// JSON has no bytes: what Node's JSON makes of a Buffer stands for one here too.
const isBytes = (value) => value !== null && typeof value === "object" && value.type === "Buffer";
const revived = (text) => JSON.parse(text, (_, value) => (isBytes(value) ? Buffer.from(value.data) : value));
const write = (report) => process.stdout.write(`${JSON.stringify(report)}\n`);

function watch(number, socket) {
  const report = (event, data = null) => write({ socket: number, event, data });
  sockets.set(number, socket);
  socket.onAny((event, data) => report(event, data));
  socket.on("connect", () => report("connect", { sid: socket.id, recovered: socket.recovered }));
  socket.on("disconnect", (reason) => report("disconnect", { reason }));
  socket.on("connect_error", (error) => report("connect_error", { message: error.message, data: error.data }));
  socket.io.on("open", () => socket.io.engine.on("upgrade", (transport) => report("upgrade", { transport: transport.name })));
}

const commands = {
  connect: ({ socket, url, options }) => watch(socket, io(url, options)),
  open_namespace: ({ socket, over, namespace, options }) => watch(socket, sockets.get(over).io.socket(namespace, options)),
  emit({ socket, call, event, args }) {
    sockets
      .get(socket)
      .timeout(ACK_TIMEOUT_MS)
      .emit(event, ...args, (error, reply) => write({ call, reply: error ? { lost: error.message } : reply }));
  },
  send({ socket, call, event, args }) {
    sockets.get(socket).emit(event, ...args);
    write({ call, reply: null });
  },
  transport: ({ socket, call }) => write({ call, reply: sockets.get(socket).io.engine.transport.name }),
  // What the client sends to be recognised: private to it, and what a thief would have.
  session: ({ socket, call }) => write({ call, reply: { pid: sockets.get(socket)._pid, offset: sockets.get(socket)._lastOffset } }),
  // What the client says of itself when it comes back.
  set_auth({ socket, call, auth }) {
    sockets.get(socket).auth = auth;
    write({ call, reply: null });
  },
  close({ socket, call }) {
    sockets.get(socket).io._close();
    write({ call, reply: null });
  },
  disconnect({ socket, call }) {
    sockets.get(socket).disconnect();
    write({ call, reply: null });
  },
};

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const request = revived(line);
    commands[request.command](request);
  })
  // The process ends by itself once nothing is open any more.
  .on("close", () => sockets.forEach((socket) => socket.disconnect()));
