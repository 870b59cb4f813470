// What is to be seen, painted once in a frame, and never more of it than a frame has time for: the rest comes in the next.

const BUDGET_MS = 8; // of the 16 that a frame lasts
const waiting = new Set();
let frame = null;

// Calls ``job`` in the next frame, once, however often it was asked for until then.
export function paintSoon(job) {
  waiting.add(job);
  frame ??= requestAnimationFrame(paint);
}

function paint() {
  const endsAtMs = performance.now() + BUDGET_MS;
  try {
    for (const job of [...waiting]) {
      waiting.delete(job); // what waited longest is first, so nobody waits for ever
      job();
      if (performance.now() > endsAtMs) break;
    }
  } finally {
    frame = waiting.size ? requestAnimationFrame(paint) : null; // a job that fails does not stop the others
  }
}
