// Undo and redo of what was done in this window. What somebody else has changed since then is left alone.

import { isSame, parseShape } from "./shapes.js";

const STEPS_LIMIT = 200;

export class History {
  #shapes;
  #done = []; // of each step [{key, before, after}]
  #undone = [];
  onChange = () => {};

  constructor(shapes) {
    this.#shapes = shapes;
  }

  get canUndo() {
    return this.#done.length > 0;
  }

  get canRedo() {
    return this.#undone.length > 0;
  }

  // Sets shapes, Map of key -> shape or null, as one step. Resolves when the server has answered.
  do(wanted) {
    const values = new Map([...wanted].map(([key, shape]) => [key, parseShape(shape)]));
    const step = [...values].map(([key, after]) => ({ key, before: this.#shapes.get(key), after }));
    this.#done.push(step);
    if (this.#done.length > STEPS_LIMIT) this.#done.shift();
    this.#undone = [];
    const answer = this.#shapes.set(values);
    this.onChange();
    return answer;
  }

  undo() {
    return this.#move(this.#done, this.#undone, "after", "before");
  }

  redo() {
    return this.#move(this.#undone, this.#done, "before", "after");
  }

  // Returns whether a step could be taken; one of which nothing is as it was left is passed over.
  #move(from, to, expected, wanted) {
    let values = new Map();
    while (from.length && !values.size) {
      const step = from.pop();
      const own = step.filter((one) => isSame(this.#shapes.get(one.key), one[expected]));
      values = new Map(own.map((one) => [one.key, one[wanted]]));
      if (values.size) to.push(own);
    }
    if (values.size) this.#shapes.set(values);
    this.onChange();
    return values.size > 0;
  }
}
