// The connection to the server's samples: asks for what is missing, then gets one a second. Knows nothing of charts.

const ANSWER_MS = 10000;
const AGAIN_MS = 3000; // after an answer that did not come, or said "later"
const SECRET_KEY = "hazoom_ws.login"; // under which the chat page keeps what it was let in with, in this tab

// The API key or token for the server, if it asks for one; "" if none is known here.
function secret() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(SECRET_KEY));
    if (typeof kept === "string") return kept;
  } catch {
    // the browser keeps nothing for pages, or something else
  }
  return new URLSearchParams(location.search).get("api_key") ?? "";
}

export class Connection {
  #socket;
  #handlers;
  #again = null; // a timer

  // ``handlers``: onState(state, detail), onHistory(history), onSample(process, sample), since(): what is there already.
  constructor(handlers) {
    this.#handlers = handlers;
    const socket = (this.#socket = io("/stats", {
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      auth: (use) => use(secret() ? { api_key: secret(), token: secret() } : {}), // only the server knows which it is
    }));
    socket.on("connect", () => this.#subscribe());
    socket.on("stats_tick", ({ process, sample }) => handlers.onSample(process, sample));
    socket.on("disconnect", () => this.#lose());
    socket.on("connect_error", (error) => {
      const isStranger = error.data?.code === "unauthorized" && !error.data.retry;
      this.#lose(socket.active ? "" : error.message, isStranger ? "stranger" : "refused");
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

  #lose(why = "", state = "refused") {
    clearTimeout(this.#again);
    this.#handlers.onState(this.#socket.active ? "offline" : state, why);
  }
}
