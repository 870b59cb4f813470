// The rooms that one is in: who is there, what is new in each, and which of them is shown. They are kept in the browser.

import { read, write } from "../browser_storage.js";
import { Timeline } from "./timeline.js";

const STORAGE_KEY = "hazoom_ws.rooms";
const KEPT_LIMIT = 50;
const HISTORY_COUNT = 50; // messages that joining tells at once
const SPOKEN_COUNT = 10; // of people: where there are more, nobody wants to hear of each one who comes
const AGAIN_MS = 2000; // until a room is tried again that could not be joined

export class Room {
  isIn = false;
  people = [];
  count = 0;
  typists = new Set();
  unread = 0;
  mentions = 0;
  hasMore = false; // there are more unread ones than were counted
  last = null; // {user, text, at} of the newest message
  problem = null; // why one may not come in
  draft = "";

  constructor(name, readSeq, connection, answers) {
    this.name = name;
    this.readSeq = readSeq; // of the newest message that was seen
    this.timeline = new Timeline(name, connection, answers);
  }
}

export class Rooms {
  #all = new Map();
  #connection;
  #answers;
  #handlers;
  #wanted; // the room of the address, until the server has told more
  current = null;

  // ``handlers``: onList(), onCurrent(), onPeople(room), onTyping(room), onMessage(room, message, isMention), onIn(room),
  // onNews(text), isSeen(): whether the reader sees the end of the current room.
  constructor(connection, answers, wanted, handlers) {
    this.#connection = connection;
    this.#answers = answers;
    this.#handlers = handlers;
    const kept = read(STORAGE_KEY, {});
    for (const room of Array.isArray(kept.rooms) ? kept.rooms.slice(0, KEPT_LIMIT) : []) {
      if (typeof room?.name === "string") this.#make(room.name, Number(room.readSeq) || 0);
    }
    this.#wanted = wanted ?? (this.#all.has(kept.current) ? kept.current : null) ?? this.all[0]?.name ?? null;
    connection.on("room_joined", (joined) => this.#onRecovered(joined));
    connection.on("room_left", ({ room }) => this.#all.get(room)?.isIn && this.#drop(room));
    connection.on("user_joined", (event) => this.#onPerson(event, (people) => [...people, event.user], "has come"));
    connection.on("user_left", (event) => this.#onPerson(event, (people) => people.filter((one) => one !== event.user), "has gone"));
    connection.on("user_typing", (event) => this.#onTyping(event));
    connection.on("new_message", (message) => this.#onMessage(message));
  }

  // By name, those with a newer message first.
  get all() {
    return [...this.#all.values()].sort((one, other) => (other.last?.at ?? 0) - (one.last?.at ?? 0) || one.name.localeCompare(other.name));
  }

  get(name) {
    return this.#all.get(name);
  }

  // A connection begins: come into every room, the one that is shown first.
  begin(status) {
    const { recovered, rooms: entered } = status;
    if (!this.current) {
      const name = (this.#wanted ?? entered[0] ?? "general").normalize("NFC");
      this.current = this.#all.get(name) ?? this.#make(name, 0);
    }
    for (const room of this.#all.values()) {
      room.isIn = recovered && entered.includes(room.name);
      room.typists.clear();
    }
    for (const name of entered) if (!this.#all.has(name)) this.#connection.request("leave_room", { room: name });
    this.#handlers.onCurrent();
    this.#joinAll([this.current, ...this.all.filter((room) => room !== this.current)]);
  }

  // The connection is lost.
  pause() {
    for (const room of this.#all.values()) {
      room.isIn = false;
      room.typists.clear();
    }
    if (this.current) this.#handlers.onTyping(this.current);
  }

  // Shows a room, and comes into it if one is not there yet.
  show(name) {
    name = name.normalize("NFC");
    if (!this.current) this.#wanted = name;
    if (!this.current || name === this.current.name) return;
    this.current.timeline.rest();
    const room = this.#all.get(name) ?? this.#make(name, 0);
    this.current = room;
    room.problem = null;
    this.#store();
    this.#handlers.onCurrent();
    if (!room.isIn) this.#join(room);
    else if (!room.timeline.isLoaded) room.timeline.load(() => this.markRead());
    else this.markRead();
  }

  leave(name) {
    const room = this.#all.get(name);
    if (room?.isIn) this.#connection.request("leave_room", { room: name });
    if (room) this.#drop(name);
  }

  // What there is in the room that is shown has been seen.
  markRead() {
    const room = this.current;
    if (!room || !this.#handlers.isSeen()) return;
    const isNews = room.unread > 0 || room.timeline.lastSeq > room.readSeq;
    room.readSeq = Math.max(room.readSeq, room.timeline.lastSeq);
    Object.assign(room, { unread: 0, mentions: 0, hasMore: false });
    if (isNews) {
      this.#store();
      this.#handlers.onList();
    }
  }

  // Whether a text names the user.
  isNamedIn(said) {
    const text = said.toLocaleLowerCase();
    const name = this.#connection.user.toLocaleLowerCase();
    for (let at = text.indexOf(name); at >= 0; at = text.indexOf(name, at + 1)) {
      if (!isLetter(text[at - 1]) && !isLetter(text[at + name.length])) return true;
    }
    return false;
  }

  #isMention(message) {
    return message.kind !== "assistant" && !this.#connection.isOwn(message) && this.isNamedIn(message.message);
  }

  // ---- coming in

  #joinAll(rooms) {
    const room = rooms.find(({ isIn, name }) => !isIn && this.#all.has(name));
    if (room) this.#join(room, () => this.#joinAll(rooms.filter((one) => one !== room)));
    else for (const one of rooms) this.#handlers.onIn(one);
  }

  #join(room, onDone = () => {}) {
    const { client } = this.#connection;
    const { timeline } = room;
    const isShown = () => room === this.current;
    const since = timeline.isLoaded ? timeline.lastSeq : isShown() || !room.readSeq ? undefined : room.readSeq;
    const payload = { room: room.name, history: isShown() || since !== undefined ? HISTORY_COUNT : 1, ...(since === undefined ? {} : { since }) };
    if (!this.#connection.isConnected) return;
    this.#connection.request("join_room", payload, (reply) => {
      if (client !== this.#connection.client || !this.#all.has(room.name)) return; // the next connection begins again
      if (reply.ok) this.#enter(room, reply, since);
      else if (reply.error.retry) setTimeout(() => client === this.#connection.client && !room.isIn && this.#join(room), AGAIN_MS);
      else this.#refuse(room, reply.error.message);
      onDone();
    });
  }

  #enter(room, reply, since) {
    room.isIn = true;
    room.problem = null;
    this.#setPeople(room, reply);
    const isShown = room === this.current;
    const { timeline } = room;
    if (since !== undefined && !reply.complete && !reply.messages.length) room.readSeq = 0; // the server counts anew
    if (timeline.isLoaded || isShown) timeline.join(reply, since);
    else timeline.lastSeq = Math.max(timeline.lastSeq, reply.messages.at(-1)?.seq ?? 0);
    if (since !== undefined || isShown) this.#countUnread(room, reply);
    for (const message of reply.messages.slice(-1)) this.#setLast(room, message);
    this.#answers.endUntold(room.name);
    if (isShown) {
      this.markRead();
      this.#handlers.onCurrent();
    }
    this.#store();
    this.#handlers.onList();
    this.#handlers.onIn(room);
  }

  #refuse(room, problem) {
    room.problem = problem;
    if (room === this.current) this.#handlers.onCurrent();
    this.#handlers.onList();
  }

  // After recovery the server tells who is there, and what it could not send again.
  #onRecovered(joined) {
    const room = this.#all.get(joined.room);
    if (!room?.isIn) return;
    this.#setPeople(room, joined);
    if (room.timeline.isLoaded && joined.messages && (joined.messages.length || !joined.complete)) {
      room.timeline.join(joined, room.timeline.lastSeq);
    }
  }

  #drop(name) {
    const room = this.#all.get(name);
    room.isIn = false;
    if (room !== this.current || this.#all.size > 1) this.#all.delete(name);
    if (room === this.current && this.#all.size > 0 && !this.#all.has(name)) this.show(this.all[0].name);
    else if (room === this.current) this.#refuse(room, "You have left this room. Join another one, or come back."); // the only one
    this.#store();
    this.#handlers.onList();
  }

  // ---- what happens there

  #onMessage(message) {
    const room = this.#all.get(message.room);
    if (!room?.isIn) return; // what joining tells has it
    const isMention = this.#isMention(message);
    room.typists.delete(message.user);
    this.#setLast(room, message);
    room.timeline.take(message);
    if (room === this.current && this.#handlers.isSeen()) {
      room.readSeq = Math.max(room.readSeq, message.seq);
      this.#storeSoon();
    } else if (!this.#connection.isOwn(message)) {
      room.unread += 1;
      room.mentions += isMention ? 1 : 0;
    }
    this.#handlers.onMessage(room, message, isMention);
  }

  #onPerson({ room: name, user, user_count: count }, change, what) {
    const room = this.#all.get(name);
    if (!room) return;
    this.#setPeople(room, { users: [...new Set(change(room.people))], user_count: count });
    if (room === this.current && count <= SPOKEN_COUNT) this.#handlers.onNews(`${user} ${what}`);
  }

  #onTyping({ room: name, user, is_typing: isTyping }) {
    const room = this.#all.get(name);
    if (!room || user === this.#connection.user) return;
    if (isTyping) room.typists.add(user);
    else room.typists.delete(user);
    this.#handlers.onTyping(room);
  }

  #setPeople(room, { users, user_count: count }) {
    room.people = users;
    room.count = count;
    for (const name of room.typists) if (!users.includes(name)) room.typists.delete(name);
    this.#handlers.onPeople(room);
  }

  #setLast(room, { user, message: text, timestamp: at }) {
    room.last = { user, text: text.slice(0, 200), at };
  }

  #countUnread(room, { messages, complete }) {
    const news = messages.filter((message) => message.seq > room.readSeq && !this.#connection.isOwn(message));
    room.unread = room.readSeq ? news.length : 0;
    room.mentions = room.readSeq ? news.filter((message) => this.#isMention(message)).length : 0;
    room.hasMore = !complete && room.unread > 0;
  }

  // ---- what the browser keeps

  #make(name, readSeq) {
    const room = new Room(name, readSeq, this.#connection, this.#answers);
    this.#all.set(name, room);
    return room;
  }

  #storeTimer = null;

  #storeSoon() {
    this.#storeTimer ??= setTimeout(() => this.#store(), 1000);
  }

  #store() {
    clearTimeout(this.#storeTimer);
    this.#storeTimer = null;
    const rooms = this.all.slice(0, KEPT_LIMIT).map(({ name, readSeq }) => ({ name, readSeq }));
    write(STORAGE_KEY, { current: this.current?.name ?? null, rooms });
  }
}

function isLetter(letter) {
  return letter !== undefined && /[\p{L}\p{N}_]/u.test(letter);
}
