// The page of the live charts: what is shown, from which samples, and whether they still come.

import { Card, milliseconds, short } from "./charts.js";
import { Connection } from "./connection.js";
import { Samples } from "./samples.js";

const STATES = {
  connecting: "Connecting …",
  connected: "Live",
  offline: "No connection – trying again",
  refused: "No connection",
};
const element = (id) => document.getElementById(id);
const read = (field) => (sample) => sample[field];
const refusals = (sample) => Object.values(sample.refusals).reduce((sum, count) => sum + count, 0);

function refusedByCode(samples) {
  const counts = {};
  for (const sample of samples) for (const [code, count] of Object.entries(sample.refusals)) counts[code] = (counts[code] ?? 0) + count;
  return Object.entries(counts).sort(([, one], [, other]) => other - one).map(([code, count]) => [code, short(count)]);
}

const one = (title, name, field, more = {}) => ({ title, series: [{ name, read: read(field) }], ...more });
const cards = [
  { title: "Connections", series: [{ name: "connections", read: read("connections") }, { name: "users", read: read("users") }], least: 4 },
  one("Rooms", "rooms", "rooms", { least: 4 }),
  one("Messages", "a second", "messages_per_s"),
  one("Deliveries", "a second", "deliveries_per_s"),
  one("Relay", "frames a second", "relay_frames_per_s"),
  { title: "AI answers", series: [{ name: "running", read: read("llm_active") }, { name: "waiting", read: read("llm_queued") }], least: 4 },
  one("AI tokens", "a second", "tokens_per_s"),
  { title: "Time to first token", format: milliseconds, least: 20,
    series: [{ name: "median", read: read("ttft_ms_p50") }, { name: "99 %", read: read("ttft_ms_p99") }] },
  one("Loop lag", "behind", "loop_lag_ms", { format: milliseconds, least: 10 }),
  one("CPU", "of one processor", "cpu_percent", { unit: " %", least: 10 }),
  one("Memory", "resident", "rss_mb", { unit: " MB", least: 100 }),
  { title: "Refusals", series: [{ name: "in the last second", read: refusals }],
    table: { caption: "In the time shown, by code", read: refusedByCode } },
].map((spec) => new Card(spec));

const samples = new Samples();
let isChosen = false; // how much time is shown: else it grows with what there is
let about = null; // of the process: its version and when it started

for (const card of cards) element("cards").append(card.element);
for (const card of cards) card.start();

const windows = [...document.querySelectorAll("[name=window]")];
for (const radio of windows) radio.addEventListener("change", () => ((isChosen = true), draw()));
element("process").addEventListener("change", draw);

new Connection({
  since: () => samples.newest(),
  onState(state, detail) {
    document.body.dataset.state = state;
    element("connection").textContent = STATES[state];
    element("problem").hidden = !detail;
    element("problem").textContent = detail && `The server does not show its statistics: ${detail}.`;
  },
  onHistory(history) {
    about = { version: history.version, startedMs: Date.now() - history.uptime_s * 1000 };
    samples.addHistory(history);
    draw();
  },
  onSample(process, sample) {
    samples.add(process, sample);
    draw();
  },
});

function draw() {
  const process = chosenProcess();
  if (!isChosen) {
    const fits = windows.find((radio) => +radio.value >= samples.span(process)) ?? windows.at(-1);
    fits.checked = true;
  }
  const seconds = +windows.find((radio) => radio.checked).value;
  const newest = samples.newest() || Date.now() / 1000;
  const found = samples.of(process, seconds);
  for (const card of cards) card.show(found, seconds, newest);
  if (about) element("about").textContent = `version ${about.version}, up for ${duration((Date.now() - about.startedMs) / 1000)}`;
}

// One process needs no choice.
function chosenProcess() {
  const select = element("process");
  const processes = samples.processes();
  if (processes.join() !== [...select.options].map((option) => option.value).join()) {
    const chosen = select.value;
    select.replaceChildren(...processes.map((process) => new Option(process)));
    if (processes.includes(chosen)) select.value = chosen;
  }
  element("process-choice").hidden = processes.length < 2;
  return select.value || processes[0];
}

function duration(seconds) {
  const [days, hours, minutes] = [seconds / 86400, (seconds / 3600) % 24, (seconds / 60) % 60].map(Math.floor);
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min` : `${Math.floor(seconds)} s`;
}
