// Times as the reader's zone and language have them. A time is seconds since the epoch.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const dayOfYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const shortDay = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

export function isSameDay(one, other) {
  return new Date(one * 1000).toDateString() === new Date(other * 1000).toDateString();
}

// "Today", "Yesterday", "Monday, 3 March", "3 March 2024".
export function dayName(at) {
  const date = new Date(at * 1000);
  const age = daysAgo(date);
  if (age === 0 || age === 1) {
    const name = relative.format(-age, "day");
    return name[0].toLocaleUpperCase() + name.slice(1);
  }
  return (date.getFullYear() === new Date().getFullYear() ? day : dayOfYear).format(date);
}

// Of the newest message of a room: the time if that was today, else the day.
export function shortTime(at) {
  const date = new Date(at * 1000);
  return (daysAgo(date) === 0 ? clock : shortDay).format(date);
}

export function setTime(element, at) {
  const date = new Date(at * 1000);
  element.dateTime = date.toISOString();
  element.textContent = clock.format(date);
  element.title = exact.format(date);
}

// "340 ms", "2.4 s", "1 min 5 s".
export function durationText(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  return s < 60 ? `${s.toFixed(1)} s` : `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
}

function daysAgo(date) {
  const midnight = (one) => new Date(one.getFullYear(), one.getMonth(), one.getDate()).getTime();
  return Math.round((midnight(new Date()) - midnight(date)) / 86_400_000);
}
