// The connection to the server: whether it works, who one is, and requests with their answers. Knows nothing of rooms.

import { identityFor, storeGuestKey } from "../identity.js";
import { Login } from "../login.js";

const ANSWER_MS = 10_000;
const BACK_WITHIN_MS = 1000; // the shortest wait of the client before it comes back
const AGAIN_MS = 5000; // after a refusal for the time being
const LOST = { code: "lost", message: "The server has not answered.", retry: true };

export class Connection {
  #handlers;
  #name = "";
  #wasConnected = false;
  #login;
  #again = null; // a timer
  socket;
  user = null;
  userId; // undefined where names say who is who
  client = null; // the public id of this connection, another one after a drop
  limits = {};
  server = null;
  state = "connecting"; // connected, recovered, offline, refused

  // ``handlers``: onState(state), onStatus(status), onProblem(text or null).
  constructor(handlers) {
    this.#handlers = handlers;
    this.#login = new Login(() => this.#connect());
    this.socket = io({ autoConnect: false, transports: ["websocket", "polling"], tryAllTransports: true });
    const { socket } = this;
    socket.on("status", (status) => this.#begin(status));
    socket.on("disconnect", () => this.#setState(socket.active ? "offline" : "refused"));
    socket.on("connect_error", (error) => this.#fail(error));
    socket.on("bye", ({ reason, reconnect, retry_after_ms: waitMs }) => this.#end(reason, reconnect, waitMs));
  }

  get isConnected() {
    return this.socket.connected && this.client !== null;
  }

  // Whether a message is one's own. Where the server checks who somebody is, two users may have one name.
  isOwn({ user, user_id: userId }) {
    return this.userId === undefined ? user === this.user : userId === this.userId;
  }

  // Connects, under another name too: a name belongs to a connection.
  connectAs(name) {
    this.#name = name;
    this.#wasConnected = false;
    this.#connect();
  }

  on(event, handler) {
    this.socket.on(event, handler);
  }

  // Calls ``onReply`` with {ok: true, ...} or {ok: false, error: {code, message, retry, retry_at?}}; the code is "lost" if
  // nothing came. It is called before what the server sends after its answer is handled.
  request(event, payload, onReply = () => {}) {
    this.socket.timeout(ANSWER_MS).emit(event, payload, (lost, reply) => onReply(lost ? { ok: false, error: LOST } : reply));
  }

  // For what is worth nothing later.
  tell(event, payload) {
    if (this.isConnected) this.socket.volatile.emit(event, payload);
  }

  #connect() {
    clearTimeout(this.#again);
    this.socket.disconnect();
    this.client = null;
    this.socket.auth = { ...identityFor(this.#name), ...this.#login.auth };
    this.#setState("connecting");
    this.socket.connect();
  }

  #begin(status) {
    const { user, client, limits, server, guest_key: key, user_id: userId, recovered } = status;
    Object.assign(this, { user, userId, client, limits, server });
    storeGuestKey(key);
    if (key && !this.#name) Object.assign(this.socket.auth, { guest_key: key });
    this.socket.io.reconnectionDelay(BACK_WITHIN_MS);
    this.#login.succeed();
    this.#handlers.onProblem(null);
    this.#setState(recovered || this.#wasConnected ? "recovered" : "connected");
    this.#wasConnected = true;
    this.#handlers.onStatus(status);
  }

  #fail(error) {
    this.#setState(this.socket.active ? "offline" : "refused");
    if (this.#login.isAskedBy(error)) {
      this.#login.ask();
      return;
    }
    if (this.socket.active) return; // it tries again by itself
    this.#handlers.onProblem(error.message);
    if (error.data?.retry) this.#again = setTimeout(() => this.socket.connect(), AGAIN_MS);
  }

  #end(reason, comesBack, waitMs) {
    if (comesBack) this.socket.io.reconnectionDelay(Math.max(BACK_WITHIN_MS, waitMs));
    else if (reason === "replaced") this.#handlers.onProblem("This connection goes on in another window.");
    else this.#handlers.onProblem("You have been logged out.");
  }

  #setState(state) {
    this.state = state;
    this.#handlers.onState(state);
  }
}
