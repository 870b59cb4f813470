// A card with a chart: the figures of now, or of the moment one points at, and their lines. Drawn by uPlot.

const LABEL_CHARS = 3.1; // of an axis: digits and a letter
const STEPS = Array.from({ length: 12 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();
const colors = {};
const all = []; // cards, which show the same moment

// Numbers as people read them: three digits at most.
export function short(value) {
  for (const [size, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= size) return `${+(value / size).toPrecision(3)}${letter}`;
  }
  return value >= 100 ? String(Math.round(value)) : String(+value.toFixed(value >= 10 ? 1 : 2));
}

export function milliseconds(value) {
  return value >= 1000 ? `${+(value / 1000).toPrecision(3)} s` : `${short(value)} ms`;
}

export const shown = (value, { format = short, unit = "" }) => (value == null ? "–" : `${format(value)}${unit}`);

function readColors() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["first", "second", "quiet", "grid", "panel"]) colors[name] = style.getPropertyValue(`--${name}`).trim();
}

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  element.append(...children);
  return element;
}

const clock = (at, parts) => new Date(at * 1000).toLocaleTimeString([], { ...parts, hourCycle: "h23" });
const timeOf = (at) => clock(at, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export class Card {
  element;
  #spec;
  #plot;
  #chart;
  #samples = [];
  #columns = [[], []];
  #range = [0, 1];
  #time = make("time");
  #values;
  #summary;
  #body = null; // of the table
  #pointed = null; // which sample is shown, null for the newest

  // ``spec``: {title, unit, format, series: [{name, read}], table}; ``read`` returns the number of a sample, or null.
  constructor(spec) {
    this.#spec = spec;
    const id = spec.title.toLowerCase().replaceAll(/[^a-z]+/g, "-");
    this.#values = spec.series.map(() => make("b", {}, "–"));
    const legend = make("ul", { class: "legend" });
    spec.series.forEach(({ name }, index) => {
      const key = spec.series.length > 1 ? [make("span", { class: `key key-${index}`, "aria-hidden": "true" })] : [];
      legend.append(make("li", {}, ...key, this.#values[index], make("span", {}, name)));
    });
    this.#summary = make("p", { class: "unseen", id: `${id}-summary` });
    this.#plot = make("div", {
      class: "plot", role: "slider", tabindex: "0", "aria-label": `${spec.title}: moment`, "aria-describedby": `${id}-summary`,
      "aria-valuemin": "0", "aria-valuemax": "0", "aria-valuenow": "0", "aria-valuetext": "now",
    });
    this.element = make("section", { class: "card", id, "aria-labelledby": `${id}-title` },
      make("div", { class: "top" }, make("h2", { id: `${id}-title` }, spec.title), this.#time),
      legend, this.#summary, this.#plot);
    if (spec.table) {
      this.#body = make("tbody");
      this.element.append(make("table", { class: "codes" }, make("caption", {}, spec.table.caption), this.#body));
    }
    this.#plot.addEventListener("keydown", (event) => this.#onKey(event));
    this.#plot.addEventListener("blur", () => point(null));
    all.push(this);
  }

  // To be called when the card is in the page.
  start() {
    const line = (index) => (index ? colors.second : colors.first);
    const { series, unit = "", format = short } = this.#spec;
    this.#chart = new uPlot({
      width: 300, height: 120, padding: [6, 16, 0, 0], legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7, fill: (_, index) => line(index - 1) } },
      scales: { x: { range: () => this.#range }, y: { range: (_, __, most) => [0, Math.max(most ?? 0, this.#spec.least ?? 1) * 1.08] } },
      axes: [
        { stroke: () => colors.quiet, grid: { show: false }, ticks: { show: false }, size: 24, gap: 2, space: 46, font: "11px system-ui, sans-serif",
          values: (_, times) => times.map((at) => clock(at, { hour: "2-digit", minute: "2-digit" })), incrs: [60, 120, 300] },
        { stroke: () => colors.quiet, grid: { stroke: () => colors.grid, width: 1 }, ticks: { show: false }, gap: 4, space: 26, incrs: STEPS, font: "11px system-ui, sans-serif",
          size: (_, labels) => 12 + 6.5 * Math.max(LABEL_CHARS, ...(labels ?? []).map((label) => label.length)),
          values: (_, values) => values.map((value) => `${format(value)}${unit.trim() === "%" ? " %" : ""}`) },
      ],
      series: [{}, ...series.map((_, index) => ({
        stroke: () => line(index), width: 1.75, points: { show: false },
        dash: index ? [5, 3] : undefined, // so that it hides nothing where both are the same
        fill: series.length === 1 ? () => `color-mix(in srgb, ${line(index)} 14%, transparent)` : undefined,
      }))],
      // Who moves over a chart sees that moment in all of them.
      hooks: { setCursor: [(chart) => this.#isOver && point(chart.cursor.idx ?? null)] },
    }, this.#columns, this.#plot);
    this.#chart.over.addEventListener("mouseenter", () => (this.#isOver = true));
    this.#chart.over.addEventListener("mouseleave", () => {
      this.#isOver = false;
      point(null);
    });
    new ResizeObserver(() => this.#fit()).observe(this.#plot);
    this.#fit();
  }

  #isOver = false;

  #fit() {
    const { clientWidth: width, clientHeight: height } = this.#plot;
    if (width && height) this.#chart.setSize({ width, height });
  }

  // Show ``samples`` (null where some are missing), on an axis of ``seconds`` that ends at ``newest``.
  show(samples, seconds, newest) {
    this.#samples = samples;
    this.#range = [newest - seconds, newest];
    // Where samples are missing the line is broken: a moment after the last one before has no value.
    const times = samples.map((sample, index) => sample?.at ?? samples[index - 1].at + 0.001);
    this.#columns = [times, ...this.#spec.series.map(({ read }) => samples.map((sample) => (sample ? read(sample) : null)))];
    this.#chart.setData(this.#columns);
    if (this.#pointed === null) this.#showValues();
    this.#describe();
    if (this.#body) this.#fillTable();
  }

  redraw() {
    this.#chart.redraw();
  }

  // Show the figures of a sample, null for the newest.
  point(index) {
    this.#pointed = index !== null && this.#samples[index] ? index : null;
    this.#showValues();
    const at = this.#pointed === null ? null : this.#columns[0][this.#pointed];
    this.#time.textContent = at === null ? "" : timeOf(at);
    if (this.#isOver) return; // uPlot has moved the cursor itself
    this.#chart.setCursor(at === null ? { left: -10, top: -10 } : { left: this.#chart.valToPos(at, "x"), top: 1 });
  }

  #showValues() {
    const index = this.#pointed ?? this.#samples.length - 1;
    this.#values.forEach((value, series) => {
      const text = shown(this.#columns[series + 1][index], this.#spec);
      if (value.textContent !== text) value.textContent = text;
    });
  }

  #describe() {
    const said = this.#spec.series.map(({ name }, series) => {
      const values = this.#columns[series + 1].filter((value) => value != null);
      if (!values.length) return `${name}: none yet`;
      const [now, least, most] = [values.at(-1), Math.min(...values), Math.max(...values)].map((value) => shown(value, this.#spec));
      return `${name}: now ${now}, least ${least}, most ${most}`;
    });
    this.#summary.textContent = `${said.join("; ")}.`;
    const last = Math.max(0, this.#samples.length - 1);
    this.#plot.setAttribute("aria-valuemax", last);
    if (this.#pointed === null) this.#plot.setAttribute("aria-valuenow", last);
  }

  #fillTable() {
    const rows = this.#spec.table.read(this.#samples.filter(Boolean));
    this.#body.replaceChildren(...rows.map(([name, count]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, count))));
    this.#body.parentElement.hidden = rows.length === 0;
  }

  // Arrows move through time, Escape goes back to now.
  #onKey(event) {
    const last = this.#samples.length - 1;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -60, PageUp: 60, Home: -last, End: last }[event.key];
    if (event.key === "Escape") {
      point(null);
    } else if (steps !== undefined && last >= 0) {
      let index = Math.min(last, Math.max(0, (this.#pointed ?? last) + steps));
      if (!this.#samples[index]) index += Math.sign(steps); // some are missing there
      point(index);
    } else {
      return;
    }
    event.preventDefault();
    const values = this.#spec.series.map(({ name }, series) => `${this.#values[series].textContent} ${name}`);
    this.#plot.setAttribute("aria-valuenow", this.#pointed ?? last);
    this.#plot.setAttribute("aria-valuetext", this.#pointed === null ? "now" : `${this.#time.textContent}: ${values.join(", ")}`);
  }
}

// All cards show the same samples, so the same one is shown in all.
function point(index) {
  for (const card of all) card.point(index);
}

readColors();
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readColors();
  for (const card of all) card.redraw();
});
