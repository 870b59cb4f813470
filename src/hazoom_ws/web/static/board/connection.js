// The connection to a room: who one is, who is here, and whether it works at the moment. Knows nothing of drawing.

import { identityFor, storeGuestKey } from "../identity.js";
import { Login } from "../login.js";

const ANSWER_MS = 10000;
const STATES = ["connecting", "connected", "recovered", "offline", "refused"];

export class Connection {
  #handlers;
  #wasIn = false; // before, under this name
  #name = "";
  #login = new Login(() => this.#connect());
  socket;
  room; // null until the server has named the default one
  user = null;
  client = null; // the public id of this connection
  isIn = false;

  // ``handlers``: onState(state), onPeople(names, count), onRoom(room), onIn(hasMissed), onShared(event), onRelay(event),
  // onProblem(text or null), onNews(text).
  constructor(room, name, handlers) {
    this.room = room;
    this.#handlers = handlers;
    this.socket = io({ autoConnect: false, transports: ["websocket", "polling"], tryAllTransports: true });
    this.#listen();
    this.#name = name;
    this.#connect();
  }

  // Another name is another connection.
  rename(name) {
    this.#name = name;
    this.#wasIn = false;
    this.#connect();
    this.#setState("connecting");
  }

  #connect() {
    this.socket.disconnect();
    this.socket.auth = { ...identityFor(this.#name), ...this.#login.auth };
    this.socket.connect();
  }

  #setState(state) {
    console.assert(STATES.includes(state), state);
    this.#handlers.onState(state);
  }

  // The reply, or null if none came.
  async request(event, payload) {
    try {
      return await this.socket.timeout(ANSWER_MS).emitWithAck(event, payload);
    } catch {
      return null;
    }
  }

  // Nothing waits for a better time: an old position is worth nothing.
  relay(item) {
    if (this.isIn && this.socket.connected) this.socket.emit("relay", { room: this.room, ...item });
  }

  #listen() {
    const { socket } = this;
    socket.on("status", (status) => this.#begin(status));
    socket.on("disconnect", () => {
      this.isIn = false;
      this.#setState(socket.active ? "offline" : "refused");
    });
    socket.on("connect_error", (error) => {
      this.#setState(socket.active ? "offline" : "refused");
      if (this.#login.isAskedBy(error)) this.#login.ask();
      else if (!socket.active) this.#handlers.onProblem(error.message);
    });
    socket.on("error", ({ event, message }) => {
      if (event !== "relay") this.#handlers.onProblem(message); // a lost cursor is no news
    });
    socket.on("room_joined", (joined) => {
      if (joined.room !== this.room) return;
      this.#showPeople(joined);
      if (this.isIn && !joined.complete && socket.recovered) this.#handlers.onIn(true);
    });
    socket.on("user_joined", (joined) => this.#change(joined, (names) => [...names, joined.user], "has come"));
    socket.on("user_left", (left) => this.#change(left, (names) => names.filter((name) => name !== left.user), "has gone"));
    socket.on("state", (event) => event.room === this.room && this.#handlers.onShared(event));
    socket.on("relay", (event) => event.room === this.room && this.#handlers.onRelay(event));
  }

  async #begin(status) {
    this.#login.succeed();
    storeGuestKey(status.guest_key);
    this.user = status.user;
    this.client = status.client;
    this.room ??= status.rooms[0] ?? "general";
    for (const room of status.rooms) if (room !== this.room) this.socket.emit("leave_room", { room });
    const isBack = this.#wasIn;
    if (status.recovered && isBack && status.rooms.includes(this.room)) {
      this.#enter(false, "recovered");
      return;
    }
    const reply = await this.request("join_room", { room: this.room, history: 0 });
    if (!reply || status.client !== this.client || !this.socket.connected) return; // the next status begins again
    if (!reply.ok) {
      this.#setState("refused");
      this.#handlers.onProblem(reply.error.message);
      return;
    }
    this.room = reply.room;
    this.#showPeople(reply);
    this.#enter(true, isBack ? "recovered" : "connected");
  }

  #enter(hasMissed, state) {
    this.isIn = this.#wasIn = true;
    this.#handlers.onRoom(this.room);
    this.#handlers.onProblem(null);
    this.#setState(state);
    this.#handlers.onIn(hasMissed);
  }

  #names = [];

  #showPeople({ users, user_count: count }) {
    this.#names = users;
    this.#handlers.onPeople(users, count);
  }

  #change({ room, user, user_count: count }, change, what) {
    if (room !== this.room) return;
    this.#showPeople({ users: [...new Set(change(this.#names))], user_count: count });
    this.#handlers.onNews(`${user} ${what}`);
  }
}
