// Questions that only the asker sees, and their answers. The server does not keep them: this tab does, until it is closed.

import { read, write } from "../browser_storage.js";
import { Answer } from "./answers.js";

const STORAGE_KEY = "hazoom_ws.private";
const TALKS_LIMIT = 20;
const STORED_CHARS = 500_000;

export class PrivateTalks {
  #answers;
  #talks; // {id, room, text, level, at, state, answer}
  #byId = new Map(); // id -> Answer

  constructor(answers) {
    this.#answers = answers;
    const talks = read(STORAGE_KEY, [], "sessionStorage");
    this.#talks = Array.isArray(talks) ? talks.filter((talk) => typeof talk?.text === "string" && typeof talk.id === "string") : [];
    for (const talk of this.#talks) {
      const answer = new Answer(talk.id, null);
      Object.assign(answer, { question: talk.text, level: talk.level, isMine: true, at: talk.at });
      this.#byId.set(talk.id, answer);
      if (talk.state) answer.end(talk.state, talk.answer);
      else this.#answers.resume(answer);
    }
  }

  // A question was accepted.
  add({ id, room, text, level, at }, answer) {
    this.#talks = [...this.#talks, { id, room, text, level, at }].slice(-TALKS_LIMIT);
    this.#byId.set(id, answer);
    this.#store();
  }

  end(answer) {
    const talk = this.#talks.find(({ id }) => id === answer.id);
    if (!talk) return;
    Object.assign(talk, { state: answer.state, answer: answer.text });
    this.#store();
  }

  // Puts what was asked in a room back into its timeline.
  restore(room, user) {
    for (const talk of this.#talks) {
      if (talk.room !== room.name || room.timeline.promptOf(talk.id)) continue;
      room.timeline.addPrivateQuestion(talk, user);
      room.timeline.addAnswer(this.#byId.get(talk.id));
    }
  }

  #store() {
    let talks = this.#talks;
    const size = () => talks.reduce((sum, { text, answer = "" }) => sum + text.length + answer.length, 0);
    while (talks.length && size() > STORED_CHARS) talks = talks.slice(1);
    write(STORAGE_KEY, talks, "sessionStorage");
  }
}
