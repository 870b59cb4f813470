// The list of messages: a row for each item of the timeline that is shown, and where the reader is in it.

import { AnswerRow } from "./answer_card.js";
import { paintSoon } from "./frames.js";
import { GapRow, MessageRow, PendingRow } from "./rows.js";

const AT_END_PX = 24; // so near to the end is at the end
const NEAR_PX = 1200; // so near to either end more is loaded

export class MessageList {
  #scroller = document.getElementById("scroller");
  #list = document.getElementById("messages");
  #pending = document.getElementById("pending");
  #beginning = document.getElementById("beginning");
  #jump = document.getElementById("jump");
  #rows = new Map(); // key -> row
  #pendingRows = new Map(); // id -> row
  #handlers;
  #timeline = null;
  #newSince = null;
  #sync = () => this.#show();
  isAtEnd = true;

  // ``handlers``: me(), isMention(item), onSeen(), and the actions of the rows.
  constructor(handlers) {
    this.#handlers = handlers;
    this.#scroller.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    this.#jump.addEventListener("click", () => {
      this.toEnd();
      this.#scroller.focus();
    });
    const keepEnd = new ResizeObserver(() => this.isAtEnd && this.#scrollToEnd());
    for (const element of [this.#scroller, this.#scroller.firstElementChild]) keepEnd.observe(element);
  }

  // Whether the reader sees the newest message.
  get isSeen() {
    return this.isAtEnd && !this.#timeline?.newer && document.visibilityState === "visible";
  }

  // Shows another timeline, at its end. ``newSince``: the seq of the last message that was read, null if nothing is new.
  use(timeline, newSince) {
    if (timeline !== this.#timeline) {
      if (this.#timeline) this.#timeline.onChange = () => {};
      for (const row of this.#rows.values()) row.close?.();
      this.#rows.clear();
      this.#list.replaceChildren();
      this.#timeline = timeline;
      this.#newSince = newSince;
      this.isAtEnd = timeline.isFollowed = true;
      timeline.onChange = () => paintSoon(this.#sync);
    }
    this.#show();
  }

  showPending(entries) {
    const ids = new Set(entries.map(({ id }) => id));
    for (const [id, row] of this.#pendingRows) {
      if (ids.has(id)) continue;
      row.element.remove();
      this.#pendingRows.delete(id);
    }
    for (const entry of entries) {
      const row = this.#pendingRows.get(entry.id);
      if (row) row.update(entry);
      else {
        const added = new PendingRow(entry, this.#handlers.me(), this.#handlers);
        this.#pendingRows.set(entry.id, added);
        this.#pending.append(added.element);
      }
    }
  }

  // Goes to the newest message.
  toEnd() {
    this.isAtEnd = true;
    if (!this.#timeline) return;
    this.#timeline.isFollowed = true;
    if (this.#timeline.newer) this.#timeline.load(() => this.#scrollToEnd());
    this.#scrollToEnd();
    this.#onScroll();
  }

  // Moves by pages, for keys that are pressed elsewhere.
  scrollByPages(count) {
    this.#scroller.scrollBy({ top: count * 0.9 * this.#scroller.clientHeight });
  }

  #show() {
    const timeline = this.#timeline;
    const { items } = timeline;
    const anchor = this.isAtEnd ? null : this.#anchor();
    const keys = new Set(items.map(({ key }) => key));
    for (const [key, row] of this.#rows) {
      if (keys.has(key)) continue;
      row.close?.();
      row.element.remove();
      this.#rows.delete(key);
    }
    let place = this.#list.firstChild;
    let previous = null;
    for (const item of items) {
      const row = this.#rows.get(item.key) ?? this.#make(item);
      row.update(item, previous, this.#newSince);
      if (row.element === place) place = place.nextSibling;
      else this.#list.insertBefore(row.element, place);
      previous = item;
    }
    this.#showBeginning();
    if (anchor) this.#scroller.scrollTop += anchor.element.getBoundingClientRect().top - anchor.top;
    else this.#scrollToEnd();
    this.#loadNear();
    this.#showJump();
    this.#handlers.onSeen();
  }

  #make(item) {
    const kinds = { gap: () => new GapRow(item, this.#timeline), answer: () => new AnswerRow(item, null, this.#handlers) };
    const row = kinds[item.kind]?.() ?? new MessageRow(item, this.#handlers.isMention);
    this.#rows.set(item.key, row);
    return row;
  }

  #showBeginning() {
    const { isLoaded, older, isForgotten, items } = this.#timeline;
    let text = "This is where the room begins.";
    if (!isLoaded || older) text = "Loading …";
    else if (isForgotten) text = "What was said before is not kept any more.";
    this.#beginning.textContent = text;
    this.#beginning.hidden = isLoaded && items.length === 0;
    document.body.classList.toggle("is-empty", isLoaded && items.length === 0);
  }

  // The first row that is in sight, and where it is: it stays there.
  #anchor() {
    const top = this.#scroller.getBoundingClientRect().top;
    const rows = this.#list.children;
    let [low, high] = [0, rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle].getBoundingClientRect().bottom <= top) low = middle + 1;
      else high = middle;
    }
    // One that goes away with this change cannot hold the others.
    const kept = new Set(this.#timeline.items.map(({ key }) => this.#rows.get(key)?.element));
    while (low < rows.length - 1 && !kept.has(rows[low])) low += 1;
    const element = rows[low];
    return element ? { element, top: element.getBoundingClientRect().top } : null;
  }

  #scrollToEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #onScroll() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    this.isAtEnd = scrollHeight - scrollTop - clientHeight < AT_END_PX;
    const timeline = this.#timeline;
    if (!timeline) return;
    timeline.isFollowed = this.isAtEnd && !timeline.newer;
    if (timeline.isFollowed && timeline.unseenCount) timeline.unseenCount = 0;
    this.#loadNear();
    this.#showJump();
    this.#handlers.onSeen();
  }

  #loadNear() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    if (scrollTop < NEAR_PX && this.#timeline.older) this.#timeline.loadOlder();
    else if (scrollHeight - scrollTop - clientHeight < NEAR_PX && this.#timeline.newer) this.#timeline.loadNewer();
  }

  #showJump() {
    const { newer, unseenCount } = this.#timeline;
    this.#jump.hidden = this.isAtEnd && !newer;
    this.#jump.querySelector(".label").textContent = unseenCount ? `${unseenCount} new` : "Newest";
  }
}
