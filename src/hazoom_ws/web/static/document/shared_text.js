// The text that everybody in a room writes together: a document of Yjs, and what keeps it in step with the server.

import { Doc, SocketIOProvider, UndoManager } from "../vendor/editor.min.js";

const TEXT = "content"; // where the guide's editors, and the AI, have it too
const UNNAMEABLE = /[?#,]/; // y-socket.io takes these for the end of a name

export class SharedText {
  #handlers;
  #provider = null;
  #isSynced = false;
  #hasUnsent = false;
  #doc = new Doc();
  text = this.#doc.getText(TEXT);
  undoManager = new UndoManager(this.text);

  // ``handlers``: onReady(), once, when the text is there; onRefused(text): the server does not take part any more.
  constructor(handlers) {
    this.#handlers = handlers;
    this.#doc.on("update", (_update, origin) => {
      if (origin !== this.#provider && !this.#isSynced) this.#hasUnsent = true;
    });
  }

  // Whether there is something that was written here and has not been sent.
  get hasUnsent() {
    return this.#hasUnsent;
  }

  get awareness() {
    return this.#provider.awareness;
  }

  // Opens the document of a room, or goes on after a drop or under another name. ``auth``: what says who connects.
  open(room, user, auth) {
    if (UNNAMEABLE.test(room)) {
      this.#handlers.onRefused("A room with one of ? # , in its name can have no document: choose another room.");
      return;
    }
    if (!this.#provider) {
      // The page's connection is used, so that there is one for both.
      const config = { autoConnect: false, disableBc: true };
      this.#provider = new SocketIOProvider(location.origin, room, this.#doc, config, { forceNew: false });
      this.#listen();
    }
    const { socket, awareness } = this.#provider;
    awareness.setLocalStateField("user", { name: user });
    socket.auth = auth;
    if (!socket.active) this.#provider.connect();
  }

  // Lets go of the connection, which can have another name only when nothing uses it any more; ``open`` comes back.
  leave() {
    this.#provider?.socket.disconnect();
  }

  #listen() {
    const { socket } = this.#provider;
    let isReady = false;
    this.#provider.on("sync", (isSynced) => {
      this.#isSynced = isSynced;
      if (!isSynced) return;
      this.#hasUnsent = false;
      if (!isReady) this.#handlers.onReady();
      isReady = true;
    });
    socket.on("connect_error", (error) => socket.active || this.#handlers.onRefused(error.message));
    socket.on("error", ({ message }) => this.#handlers.onRefused(`${message} What you write now is not kept: copy it.`));
    // What waits to be sent is sent by coming into step, all at once; the client would send each letter once more.
    socket.io.on("open", () => (socket.sendBuffer = []));
  }
}
