// Documents as their users open them: yjs over y-socket.io. Prints one JSON object.
//   node documents.cjs open URL BYTES TIMES    how long it takes until a document of so many bytes is synced, each time anew
//   node documents.cjs idle URL COUNT          opens, edits and closes so many documents
"use strict";

const Y = require("yjs");
const { SocketIOProvider } = require("y-socket.io");

const [, , mode, url, ...numbers] = process.argv;
const [first, second] = numbers.map(Number);

function open(name) {
  const doc = new Y.Doc();
  return { doc, provider: new SocketIOProvider(url, name, doc, { disableBc: true }) };
}

const until = async (condition) => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
};

async function openings(bytes, times) {
  const reader = open("large");
  const { doc, provider: writer } = open("large");
  await until(() => writer.synced && reader.provider.synced);
  const text = doc.getText("content");
  for (let written = 0; written < bytes; written += 100) {
    text.insert(Math.floor(written / 2), "x".repeat(100));
    if (written % 10000 === 0) await new Promise((resolve) => setTimeout(resolve, 1)); // at once it is more than Node takes
  }
  const { length } = text;
  await until(() => reader.doc.getText("content").length === length);
  reader.provider.destroy();
  const opened_ms = [];
  for (let time = 0; time < times; time += 1) {
    const started = performance.now();
    const { doc: copy, provider } = open("large");
    await until(() => copy.getText("content").length === length);
    opened_ms.push(performance.now() - started);
    provider.destroy();
  }
  return { opened_ms };
}

async function idle(count) {
  for (let done = 0; done < count; done += 20) {
    const some = Array.from({ length: 20 }, (_, number) => open(`d${done + number}`));
    await until(() => some.every(({ provider }) => provider.synced));
    for (const { doc } of some) doc.getText("content").insert(0, "a document that somebody has written something into");
    await new Promise((resolve) => setTimeout(resolve, 20));
    for (const { provider } of some) provider.destroy();
  }
  return { count };
}

(mode === "open" ? openings(first, second) : idle(first)).then((found) => {
  console.log(JSON.stringify(found));
  process.exit(0);
});
