// The connection to the server's samples: asks for what is missing, then gets one a second. Knows nothing of charts.

import { Login } from "../login.js";

const ANSWER_MS = 10000;
const AGAIN_MS = 3000; // after an answer that did not come, or said "later"

export class Connection {
  #socket;
  #handlers;
  #again = null; // a timer
  #login = new Login(() => this.#socket.connect());

  // ``handlers``: onState(state, detail), onHistory(history), onSample(process, sample), since(): what is there already.
  constructor(handlers) {
    this.#handlers = handlers;
    const socket = (this.#socket = io("/stats", {
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      auth: (use) => use(this.#login.auth),
    }));
    socket.on("connect", () => {
      this.#login.succeed();
      this.#subscribe();
    });
    socket.on("stats_tick", ({ process, sample }) => handlers.onSample(process, sample));
    socket.on("disconnect", () => this.#lose());
    socket.on("connect_error", (error) => {
      const isStranger = this.#login.isAskedBy(error);
      this.#lose(socket.active || isStranger ? "" : error.message);
      if (isStranger) this.#login.ask();
    });
    // The browser knows at once; the connection finds out when nothing has come for a while.
    window.addEventListener("offline", () => this.#handlers.onState("offline", ""));
    window.addEventListener("online", () => socket.connected && this.#subscribe());
  }

  async #subscribe() {
    clearTimeout(this.#again);
    const { id } = this.#socket;
    let reply = null;
    try {
      reply = await this.#socket.timeout(ANSWER_MS).emitWithAck("stats_subscribe", { since: this.#handlers.since() });
    } catch {
      // nobody has answered
    }
    if (this.#socket.id !== id) return; // the next connection begins again
    if (reply?.ok) {
      this.#handlers.onHistory(reply);
      this.#handlers.onState("connected", "");
    } else if (reply === null || reply.error.retry) {
      this.#again = setTimeout(() => this.#subscribe(), AGAIN_MS);
    } else {
      this.#handlers.onState("refused", reply.error.message);
    }
  }

  #lose(why = "") {
    clearTimeout(this.#again);
    this.#handlers.onState(this.#socket.active ? "offline" : "refused", why);
  }
}
