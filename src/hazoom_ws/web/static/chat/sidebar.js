// The side bar: the rooms one is in, others that there are, and a field for a new one. On a phone it is a drawer.

import { shortTime } from "./times.js";

const SUGGESTIONS_COUNT = 30;
const REFRESHED_MS = 30_000;
const element = (id) => document.getElementById(id);

export class Sidebar {
  #rooms;
  #connection;
  #handlers;
  #isNarrow = matchMedia("(max-width: 47.99rem)");
  #others = [];

  // ``handlers``: onChoose(name).
  constructor(rooms, connection, handlers) {
    this.#rooms = rooms;
    this.#connection = connection;
    this.#handlers = handlers;
    element("join-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const name = element("join-room").value.trim();
      if (!name) return;
      element("join-room").value = "";
      this.#choose(name);
    });
    for (const list of [element("rooms"), element("other-rooms")]) {
      list.addEventListener("click", (event) => {
        const link = event.target.closest("a");
        if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return; // another tab is the browser's business
        event.preventDefault();
        this.#choose(link.dataset.room);
      });
    }
    element("open-sidebar").addEventListener("click", () => this.setOpen(true));
    for (const id of ["close-sidebar", "backdrop"]) element(id).addEventListener("click", () => this.setOpen(false));
    element("sidebar").addEventListener("keydown", (event) => event.key === "Escape" && this.isOpen && this.setOpen(false));
    this.#isNarrow.addEventListener("change", () => this.setOpen(false));
    this.setOpen(false);
    setInterval(() => document.visibilityState === "visible" && this.refresh(), REFRESHED_MS);
  }

  get isOpen() {
    return document.body.classList.contains("has-drawer");
  }

  setOpen(isOpen) {
    const wasOpen = this.isOpen;
    document.body.classList.toggle("has-drawer", isOpen);
    element("sidebar").inert = this.#isNarrow.matches && !isOpen;
    element("chat").inert = this.#isNarrow.matches && isOpen;
    element("open-sidebar").setAttribute("aria-expanded", String(isOpen));
    if (isOpen) {
      element("close-sidebar").focus();
      this.refresh();
    } else if (wasOpen) element("open-sidebar").focus();
  }

  // Asks which rooms there are.
  refresh() {
    if (!this.#connection.isConnected) return;
    this.#connection.request("get_rooms", { limit: 100 }, (reply) => {
      if (!reply.ok) return; // it is only a suggestion
      for (const { room: name, last_message: last } of reply.rooms) {
        const room = this.#rooms.get(name);
        if (room && last) room.last = { user: last.user, text: last.message, at: last.timestamp };
      }
      this.#others = reply.rooms.filter(({ is_member: isMember }) => !isMember).slice(0, SUGGESTIONS_COUNT);
      this.show();
    });
  }

  show() {
    const { all, current } = this.#rooms;
    const focused = document.activeElement.closest?.("#sidebar a")?.dataset.room;
    element("rooms").replaceChildren(...all.map((room) => this.#entry(room, room === current)));
    const others = this.#others.filter(({ room }) => !this.#rooms.get(room));
    element("other-rooms").replaceChildren(...others.map((one) => this.#suggestion(one)));
    element("others").hidden = others.length === 0;
    if (focused) element("sidebar").querySelector(`a[data-room="${CSS.escape(focused)}"]`)?.focus();
  }

  #entry(room, isCurrent) {
    const { item, link, find } = this.#link("room-row", room.name);
    if (isCurrent) link.setAttribute("aria-current", "page");
    link.classList.toggle("has-news", room.unread > 0);
    find(".name").textContent = room.name;
    if (room.last) {
      find("time").textContent = shortTime(room.last.at);
      find(".last-user").textContent = room.last.user;
      find(".last-text").textContent = room.last.text.replace(/\s+/gu, " ");
    } else find(".last").hidden = true;
    if (room.problem) {
      find(".last").hidden = false;
      find(".last").textContent = "No entry";
    }
    const badge = find(".badge");
    badge.hidden = room.unread === 0;
    badge.classList.toggle("is-mention", room.mentions > 0);
    badge.querySelector("[aria-hidden]").textContent = `${room.mentions ? "@" : ""}${room.unread > 99 || room.hasMore ? "99+" : room.unread}`;
    badge.querySelector(".unseen").textContent = `${room.unread} unread${room.mentions ? `, ${room.mentions} of them name you` : ""}`;
    return item;
  }

  #suggestion({ room, user_count: count }) {
    const { item, find } = this.#link("other-room-row", room);
    find(".name").textContent = room;
    find(".count").textContent = count;
    return item;
  }

  #link(template, name) {
    const item = element(template).content.firstElementChild.cloneNode(true);
    const find = (selector) => item.querySelector(selector);
    const link = find("a");
    link.href = `?room=${encodeURIComponent(name)}`;
    link.dataset.room = name;
    return { item, link, find };
  }

  #choose(name) {
    if (this.#isNarrow.matches) this.setOpen(false);
    this.#handlers.onChoose(name);
  }
}
