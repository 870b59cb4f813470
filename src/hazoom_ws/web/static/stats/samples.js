// The samples of each process, the last 15 minutes of them. Knows nothing of the page.

const KEPT_S = 900;
const GAP_S = 3.5; // between two samples of which none is missing
const SILENT_S = 10; // a process that says nothing for so long has ended, or cannot be reached

export class Samples {
  #byProcess = new Map(); // of each process its samples, the oldest first

  // Take what the server has kept; only what is newer than what is here already.
  addHistory({ process, samples }) {
    const fields = Object.keys(samples);
    this.#follow(process, samples.at.at(-1));
    samples.at.forEach((_, index) => {
      this.#add(process, Object.fromEntries(fields.map((field) => [field, samples[field][index]])));
    });
  }

  add(process, sample) {
    this.#follow(process, sample.at);
    this.#add(process, sample);
  }

  // The time of the newest sample of all, 0 if there is none.
  newest() {
    return Math.max(0, ...[...this.#byProcess.values()].map((samples) => samples.at(-1)?.at ?? 0));
  }

  // The processes that speak, in the order in which they came.
  processes() {
    const newest = this.newest();
    return [...this.#byProcess].filter(([, all]) => newest - (all.at(-1)?.at ?? 0) < SILENT_S).map(([process]) => process);
  }

  // The samples of a process within so many seconds before the newest; null where some are missing.
  of(process, seconds) {
    const samples = this.#byProcess.get(process) ?? [];
    const from = this.newest() - seconds;
    const found = [];
    let before = null;
    for (const sample of samples) {
      if (sample.at < from) continue;
      if (before !== null && sample.at - before > GAP_S) found.push(null);
      found.push(sample);
      before = sample.at;
    }
    return found;
  }

  // For how many seconds there are samples of a process.
  span(process) {
    const samples = this.#byProcess.get(process) ?? [];
    return samples.length ? samples.at(-1).at - samples[0].at : 0;
  }

  // A server that was started again is another process: it goes on with the lines of the one before.
  #follow(process, at) {
    if (this.#byProcess.has(process)) return;
    const others = [...this.#byProcess.keys()];
    const [before] = others;
    if (others.length === 1 && at !== undefined && this.newest() < at - 1.5) {
      this.#byProcess.set(process, this.#byProcess.get(before));
      this.#byProcess.delete(before);
    } else {
      this.#byProcess.set(process, []);
    }
  }

  #add(process, sample) {
    const samples = this.#byProcess.get(process);
    if (samples.length && sample.at <= samples.at(-1).at) return;
    samples.push(sample);
    while (samples[0].at < sample.at - KEPT_S) samples.shift();
  }
}
