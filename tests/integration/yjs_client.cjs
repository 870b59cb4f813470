"use strict";
// Editors of documents: yjs over y-socket.io, driven by JSON lines on stdin. See Editors in tests/yjs.py.

const { createInterface } = require("node:readline");
const Y = require("yjs");
const { SocketIOProvider } = require("y-socket.io");

const editors = new Map();
const write = (report) => process.stdout.write(`${JSON.stringify(report)}\n`);

// The provider calls itself synced when it has told the server what it has, be it empty still: note when the server has
// told it too.
function noteFilled(opened) {
  const { socket } = opened.provider;
  const emit = socket.emit.bind(socket);
  socket.emit = (event, ...said) => {
    if (event !== "sync-step-1") return emit(event, ...said);
    const onReply = said.pop();
    return emit(event, ...said, (update) => {
      onReply(update);
      opened.isFilled = true;
    });
  };
}

const commands = {
  open({ editor, url, name, user }) {
    const doc = new Y.Doc();
    const provider = new SocketIOProvider(url, name, doc, { disableBc: true, autoConnect: false }, { reconnectionDelayMax: 500 });
    const opened = { doc, provider, text: doc.getText("content"), events: 0, isFilled: false, refused: null, error: null, ended: null };
    noteFilled(opened);
    editors.set(editor, opened);
    if (user !== null) provider.awareness.setLocalStateField("user", { name: user });
    provider.on("connection-error", (error) => (opened.refused = error.data ?? { message: error.message }));
    provider.on("connection-close", (event) => (opened.ended = event));
    provider.socket.on("error", (error) => (opened.error = error));
    provider.socket.onAny(() => (opened.events += 1));
    provider.socket.onAnyOutgoing(() => (opened.events += 1));
    provider.connect();
  },
  insert({ editor, at, text }) {
    const { text: shared } = editors.get(editor);
    shared.insert(at < 0 ? shared.length + 1 + at : at, text);
  },
  delete: ({ editor, at, count }) => void editors.get(editor).text.delete(at, count),
  insert_many({ editor, count }) {
    for (let number = 0; number < count; number += 1) editors.get(editor).text.insert(0, "x");
  },
  text: ({ editor }) => editors.get(editor).text.toString(),
  state({ editor }) {
    const { provider, text, events, isFilled, refused, error, ended } = editors.get(editor);
    return { synced: provider.synced && isFilled, connected: provider.socket.connected, length: text.length, events, refused, error, ended };
  },
  // The names of the others who are here.
  others({ editor }) {
    const { doc, provider } = editors.get(editor);
    const others = [...provider.awareness.getStates()].filter(([id]) => id !== doc.clientID);
    return others.map(([, state]) => state.user?.name ?? "?").sort();
  },
  set_user: ({ editor, user }) => void editors.get(editor).provider.awareness.setLocalStateField("user", { name: user }),
  send_raw: ({ editor, event, base64 }) => void editors.get(editor).provider.socket.emit(event, Buffer.from(base64, "base64")),
  // The connection breaks, and the client comes back by itself.
  drop: ({ editor }) => void editors.get(editor).provider.socket.io.engine.close(),
  leave: ({ editor }) => void editors.get(editor).provider.disconnect(),
  come_back: ({ editor }) => void editors.get(editor).provider.connect(),
};

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const { command, call, ...request } = JSON.parse(line);
    write({ call, reply: commands[command](request) ?? null });
  })
  .on("close", () => process.exit(0));
