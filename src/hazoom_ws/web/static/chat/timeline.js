// What is shown of one room, oldest first: a window into its history, of bounded size. It grows at either end by pages of the
// server's, and lets go of what is far away at the other. Beside kept messages it has answers that run, and private questions.

const ITEMS_LIMIT = 300;
const PAGE_COUNT = 50;
const REFUSED_MS = 1000;

// An item: {key, kind, epoch, order, sub, seq?, id?, user, isOwn, text, at, requestId?, answer?, isPrivate?}. ``kind``: message, prompt,
// answer, gap. Items are in the order of epoch (grows when a server has forgotten everything and counts anew), order (the
// ``seq``; of an answer, its question's), sub.
export class Timeline {
  #room;
  #connection;
  #answers;
  #byKey = new Map();
  #ids = new Set();
  #prompts = new Map(); // request_id -> item
  #epoch = 0;
  #loading = false;
  #gaps = 0;
  items = [];
  isLoaded = false;
  older = null; // {before}: there is more before the first item
  newer = null; // {after}: there is more after the last item
  isForgotten = false; // what was before the first item is not kept any more
  isFollowed = true; // the reader sees the end
  unseenCount = 0; // messages that came while it was not
  lastSeq = 0; // of the newest message that the server told of
  onChange = () => {};

  constructor(room, connection, answers) {
    this.#room = room;
    this.#connection = connection;
    this.#answers = answers;
  }

  // A message that was said just now.
  take(message) {
    this.lastSeq = Math.max(this.lastSeq, message.seq);
    if (!this.isLoaded) return;
    if (!this.isFollowed && !this.#ids.has(message.id)) this.unseenCount += 1;
    if (this.newer && !this.#byKey.has(keyOf(message))) return;
    this.#insert(message);
    this.#changed(this.isFollowed ? "older" : "newer");
  }

  // One's own message, of which the server has said that it is kept. Others may come that were said before it.
  confirm(message) {
    if (!this.isLoaded || this.newer) return;
    this.#insert(message);
    this.#changed("older");
  }

  // What joining has told. ``since``: what was asked for, undefined if it was the newest.
  join({ messages, complete }, since) {
    if (since === undefined || !this.isLoaded) {
      this.#reset(messages, complete);
      return;
    }
    if (this.newer) {
      this.lastSeq = Math.max(this.lastSeq, messages.at(-1)?.seq ?? 0);
      return; // what is shown goes on where it ends, by pages
    }
    if (!complete && messages.length) this.#addGap(since, messages[0].seq);
    if (!complete && !messages.length) {
      this.#askWhatIsLeft(since);
      return;
    }
    this.#addAll(messages);
    this.#changed("older");
  }

  // Loads the newest page.
  load(onDone = () => {}) {
    this.#page({}, ({ messages, complete }) => {
      this.#reset(messages, complete);
      onDone();
    });
  }

  loadOlder() {
    if (!this.older || !this.isLoaded) return;
    const { before } = this.older;
    this.#page({ before }, ({ messages, complete }) => {
      if (this.older?.before !== before) return;
      this.#addAll(messages);
      this.older = complete || !messages.length ? null : { before: messages[0].seq };
      this.isForgotten = !complete && !messages.length;
      this.#changed("newer");
    });
  }

  loadNewer() {
    if (!this.newer || !this.isLoaded) return;
    const { after } = this.newer;
    this.#page({ after }, ({ messages, complete }) => {
      if (this.newer?.after !== after) return;
      this.#addAll(messages);
      this.newer = complete || !messages.length ? null : { after: messages.at(-1).seq };
      if (!this.newer) this.#addRunning();
      this.#changed("older");
    });
  }

  // Loads what was missed while the connection was lost, the newest of it first.
  fill(gap) {
    const { before } = gap;
    this.#page({ before }, ({ messages, complete }) => {
      if (!this.#byKey.has(gap.key) || gap.before !== before) return;
      const missed = messages.filter(({ seq }) => seq > gap.after);
      this.#addAll(missed);
      if (missed.length < messages.length || complete || !missed.length) this.#remove(gap);
      else gap.before = missed[0].seq;
      this.#changed("none");
    });
  }

  // Shows an answer; beneath its question, if that is shown.
  addAnswer(answer) {
    if (!this.isLoaded || this.newer || this.#byKey.has(`a:${answer.id}`)) return;
    this.#place({ key: `a:${answer.id}`, kind: "answer", answer, requestId: answer.id, isPrivate: answer.room === null });
    this.#changed("older");
  }

  // A question that nobody else sees.
  addPrivateQuestion({ id, text, at }, user) {
    const last = this.items.at(-1);
    const item = { key: `q:${id}`, kind: "prompt", user, isOwn: true, text, at, requestId: id, isPrivate: true };
    this.#add({ ...item, epoch: this.#epoch, order: last?.order ?? 0, sub: (last?.sub ?? 0) + 1 });
    this.#changed("older");
  }

  promptOf(requestId) {
    return this.#prompts.get(requestId);
  }

  // Lets go of what is not needed while another room is shown.
  rest() {
    if (this.newer) this.isLoaded = false;
    else this.#trim("older", PAGE_COUNT);
  }

  // ---- pages

  // One page at a time. After a refusal (of who scrolls faster than the server wants to be asked) it waits a while.
  #page(range, onPage) {
    if (this.#loading) return;
    this.#loading = true;
    this.#connection.request("get_history", { room: this.#room, limit: PAGE_COUNT, ...range }, (reply) => {
      if (reply.ok) {
        this.#loading = false;
        onPage(reply);
        return;
      }
      setTimeout(() => {
        this.#loading = false;
        if (reply.error.retry) this.onChange();
      }, REFUSED_MS);
    });
  }

  #reset(messages, complete) {
    this.#byKey.clear();
    this.#ids.clear();
    this.#prompts.clear();
    const own = this.items.filter(({ kind, isPrivate }) => isPrivate && kind !== "gap");
    this.items = [];
    this.isLoaded = true;
    this.newer = null;
    this.unseenCount = 0;
    this.older = complete || !messages.length ? null : { before: messages[0].seq };
    this.isForgotten = !complete && !messages.length;
    for (const item of own) this.#add(item);
    this.#addAll(messages);
    this.#addRunning();
    this.#changed("older");
  }

  #addAll(messages) {
    for (const message of messages) {
      this.lastSeq = Math.max(this.lastSeq, message.seq);
      this.#insert(message);
    }
  }

  #addRunning() {
    this.unseenCount = 0;
    for (const answer of this.#answers.runningIn(this.#room)) {
      if (!this.#byKey.has(`a:${answer.id}`)) this.#place({ key: `a:${answer.id}`, kind: "answer", answer, requestId: answer.id });
    }
  }

  #addGap(after, before) {
    this.#gaps += 1;
    this.#add({ key: `g:${this.#gaps}`, kind: "gap", epoch: this.#epoch, order: after, sub: 1e9, after, before });
  }

  // Nothing is there after ``since``, and yet something is missing: perhaps a server that counts anew.
  #askWhatIsLeft(since) {
    this.#page({}, ({ messages, complete }) => {
      const isAnew = (messages.at(-1)?.seq ?? 0) <= since && !messages.some(({ id }) => this.#ids.has(id));
      if (isAnew) {
        this.#epoch += 1;
        this.lastSeq = 0;
        this.#add({ key: `g:epoch ${this.#epoch}`, kind: "gap", isFinal: true, epoch: this.#epoch, order: 0, sub: 0 });
      } else if (!complete && messages.length) this.#addGap(since, messages[0].seq);
      this.#addAll(messages);
      this.#changed("older");
    });
  }

  // ---- items

  #insert(message) {
    if (this.#ids.has(message.id)) return;
    this.#ids.add(message.id);
    const { id, seq, user, message: text, timestamp: at, request_id: requestId, kind } = message;
    const known = this.#byKey.get(keyOf(message));
    if (known) {
      Object.assign(known, { id, seq });
      if (kind === "assistant") this.#answers.kept(message);
      return;
    }
    if (kind === "assistant") {
      const answer = this.#answers.kept(message);
      this.#place({ key: keyOf(message), kind: "answer", id, seq, at, answer, requestId, text });
    } else {
      const place = { epoch: this.#epoch, order: seq, sub: 0 };
      const isOwn = this.#connection.isOwn(message);
      this.#add({ key: keyOf(message), kind: kind ?? "message", ...place, id, seq, user, isOwn, text, at, requestId });
    }
  }

  // Beneath its question if that is shown, else where its number belongs, else at the end.
  #place(item) {
    const prompt = this.#prompts.get(item.requestId);
    const last = this.items.at(-1);
    if (prompt) Object.assign(item, { epoch: prompt.epoch, order: prompt.order, sub: prompt.sub + 0.5 });
    else if (item.seq) Object.assign(item, { epoch: this.#epoch, order: item.seq, sub: 0 });
    else Object.assign(item, { epoch: this.#epoch, order: last?.order ?? 0, sub: (last?.sub ?? 0) + 1 });
    if (prompt) item.answer.question ??= prompt.text;
    this.#add(item);
  }

  #add(item) {
    this.items.push(item);
    this.#byKey.set(item.key, item);
    if (item.id) this.#ids.add(item.id);
    if (item.kind !== "prompt" || !item.requestId) return;
    this.#prompts.set(item.requestId, item);
    const answer = this.#byKey.get(`a:${item.requestId}`);
    if (answer) {
      Object.assign(answer, { epoch: item.epoch, order: item.order, sub: item.sub + 0.5 });
      answer.answer.question ??= item.text;
    }
  }

  #remove(item) {
    this.items = this.items.filter((one) => one !== item);
    this.#forget(item);
  }

  #forget(item) {
    this.#byKey.delete(item.key);
    this.#ids.delete(item.id);
    if (item.kind === "prompt") this.#prompts.delete(item.requestId);
  }

  #changed(trimmed) {
    this.items.sort((one, other) => one.epoch - other.epoch || one.order - other.order || one.sub - other.sub);
    this.#trim(trimmed, ITEMS_LIMIT);
    this.onChange();
  }

  // Lets go of the "older" or the "newer" items that are too many.
  #trim(end, limit) {
    const excess = this.items.length - limit;
    if (excess <= 0 || end === "none") return;
    const gone = end === "older" ? this.items.splice(0, excess) : this.items.splice(-excess);
    for (const item of gone) this.#forget(item);
    const current = gone.filter(({ seq, epoch }) => seq && epoch === this.#epoch).map(({ seq }) => seq);
    if (end === "older" && current.length) this.older = { before: Math.max(...current) + 1 };
    if (end === "newer" && current.length) this.newer = { after: Math.min(...current) - 1 };
  }
}

function keyOf({ kind, request_id: requestId, id }) {
  return kind === "assistant" ? `a:${requestId}` : `m:${id}`;
}
