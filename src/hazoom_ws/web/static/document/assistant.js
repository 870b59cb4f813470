// Asking the AI to write at the end of the text. What it writes comes as others' changes do; here is only the asking, and stopping.

const LEVEL = "super";

export class Assistant {
  #connection;
  #handlers;
  #requestId = null;

  // ``handlers``: onWriting(isWriting), onProblem(text).
  constructor(connection, handlers) {
    this.#connection = connection;
    this.#handlers = handlers;
    connection.socket.on("llm_complete", ({ request_id: id }) => this.#end(id, null));
    connection.socket.on("llm_error", ({ request_id: id, message }) => this.#end(id, message));
  }

  async ask(message) {
    const { room } = this.#connection;
    const reply = await this.#connection.request("llm_request", { message, intelligence_level: LEVEL, document: room, text: "content" });
    if (reply?.ok) this.#use(reply.request_id);
    else this.#handlers.onProblem(reply?.error.message ?? "The server has not answered.");
  }

  stop() {
    this.#connection.request("llm_cancel", { request_id: this.#requestId });
  }

  // An answer belongs to the name under which it was asked for.
  forget() {
    this.#use(null);
  }

  #end(id, problem) {
    if (id !== this.#requestId) return;
    this.#use(null);
    if (problem) this.#handlers.onProblem(problem);
  }

  #use(id) {
    this.#requestId = id;
    this.#handlers.onWriting(id !== null);
  }
}
