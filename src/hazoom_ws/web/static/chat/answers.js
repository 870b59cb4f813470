// The AI's answers as they come: what there is of each, and how it is with it. Knows nothing of how they are shown.

// How it is with an answer: it waits in the server's queue, the AI thinks, its text grows, or it has ended.
const KNOWN_LIMIT_COUNT = 300;
const ENDS = new Set(["stop", "cancelled", "failed", "lost"]);

export class Answer {
  #lastIndex = -1; // of the last token
  state = "thinking"; // queued, streaming, stop, cancelled, failed, lost
  text = "";
  restarts = 0; // how often the text was replaced by another, not continued
  position = null; // in the queue
  question = null;
  level = null;
  error = null; // {message, retry}
  at = Date.now() / 1000;
  ttftMs = null;
  tokenCount = null;
  durationMs = null;
  asker = null;
  isMine = false;
  onChange = () => {};

  // ``room``: the one that sees it; null for a private one.
  constructor(id, room) {
    this.id = id;
    this.room = room;
  }

  get isEnded() {
    return ENDS.has(this.state);
  }

  queue(position) {
    if (this.isEnded || this.state === "streaming") return;
    this.state = "queued";
    this.position = position;
    this.onChange();
  }

  start(level, asker) {
    this.level = level;
    this.asker = asker;
    if (!this.isEnded && this.state !== "streaming") this.state = "thinking";
    this.onChange();
  }

  add(token, index, isSnapshot) {
    if (this.isEnded || (!isSnapshot && index <= this.#lastIndex)) return; // it came before the connection was lost
    this.#lastIndex = isSnapshot ? 0 : index;
    if (isSnapshot && !token.startsWith(this.text)) this.restarts += 1;
    this.text = isSnapshot ? token : this.text + token;
    if (this.text) this.state = "streaming";
    this.onChange();
  }

  // Forgets what there is, before the server tells all of it again.
  beginAgain() {
    if (this.isEnded) return;
    this.#lastIndex = -1;
    this.text = "";
    this.restarts += 1;
  }

  // Ends it. Of an answer that died with the server nothing is kept; what was seen of it stays.
  end(state, text = "") {
    if (text && text !== this.text) {
      if (!text.startsWith(this.text)) this.restarts += 1;
      this.text = text;
    }
    if (!this.isEnded || this.state === "lost" || state === "failed") this.state = state;
    this.onChange();
  }
}

// All answers that one may hear of. An ended one is known for a while, for what the server says of it in another event.
export class Answers {
  #known = new Map(); // request_id -> Answer
  #handlers;
  #connection;
  #told = new Set(); // those of which this connection has heard

  // ``handlers``: onNew(answer), onEnd(answer).
  constructor(connection, handlers) {
    this.#connection = connection;
    this.#handlers = handlers;
    connection.on("llm_queued", ({ request_id: id, position }) => this.#known.get(id)?.queue(position));
    connection.on("llm_started", ({ request_id: id, user, intelligence_level: level, room }) => {
      const answer = this.#of(id, room);
      answer.isMine ||= user === connection.user;
      answer.start(level, user);
    });
    connection.on("llm_token", ({ request_id: id, token, index, room, snapshot }) =>
      this.#of(id, room).add(token, index, snapshot),
    );
    connection.on("llm_response", ({ request_id: id, response, room }) => this.#of(id, room).add(response, 0, true));
    connection.on("llm_complete", (end) => {
      const answer = this.#of(end.request_id, end.room);
      answer.level = end.intelligence_level;
      Object.assign(answer, { ttftMs: end.ttft_ms, durationMs: end.duration_ms, tokenCount: end.token_count });
      this.#end(answer, end.finish_reason, end.response);
    });
    connection.on("llm_error", (error) => {
      const answer = this.#of(error.request_id, error.room);
      answer.error = error;
      this.#end(answer, "failed");
    });
  }

  // Of a room, those that run.
  runningIn(room) {
    return [...this.#known.values()].filter((answer) => answer.room === room && !answer.isEnded);
  }

  // One's own question was accepted.
  expect(id, room, question, level) {
    const answer = this.#of(id, room);
    Object.assign(answer, { isMine: true, question, level, asker: this.#connection.user });
    answer.onChange();
    return answer;
  }

  // A private answer that was running before the page was loaded.
  resume(answer) {
    this.#known.set(answer.id, answer);
    if (this.#connection.isConnected) this.#resume(answer);
  }

  // A connection begins. If it is not the one that was lost, private answers are asked for again.
  begin(isRecovered) {
    this.#told.clear();
    if (isRecovered) return;
    for (const answer of this.runningIn(null)) this.#resume(answer);
  }

  // We are in a room again, and have been told of everything that runs there. What we were not told of has died.
  endUntold(room) {
    for (const answer of this.runningIn(room)) if (!this.#told.has(answer.id)) this.#end(answer, "lost");
  }

  stop(answer) {
    this.#connection.request("llm_cancel", { request_id: answer.id });
  }

  // The answer that a room's history has: its last word.
  kept(message) {
    const { request_id: id, room, message: text, finish_reason: reason = "stop", timestamp } = message;
    const answer = this.#known.get(id) ?? new Answer(id, room);
    answer.at = timestamp;
    if (this.#known.has(id)) this.#end(answer, reason, text);
    else answer.end(reason, text);
    return answer;
  }

  #resume(answer) {
    answer.beginAgain();
    this.#connection.request("llm_resume", { request_id: answer.id, index: 0 }, (reply) => {
      if (!reply.ok && reply.error.code !== "lost") this.#end(answer, "lost");
    });
  }

  #end(answer, state, text) {
    const isNews = !answer.isEnded;
    answer.end(state, text);
    if (isNews) this.#handlers.onEnd(answer);
    for (const [id, { isEnded }] of this.#known) {
      if (this.#known.size <= KNOWN_LIMIT_COUNT) break;
      if (isEnded) this.#known.delete(id);
    }
  }

  #of(id, room = null) {
    this.#told.add(id);
    let answer = this.#known.get(id);
    if (!answer) {
      answer = new Answer(id, room);
      this.#known.set(id, answer);
      this.#handlers.onNew(answer);
    }
    return answer;
  }
}
