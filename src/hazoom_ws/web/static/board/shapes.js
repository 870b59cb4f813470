// What a shape is: the value of its key in the room's state, and what is relayed while it is drawn.
// Whatever comes from outside passes parseShape, which makes a new object of known fields or says null.

export const COLORS = ["ink", "red", "orange", "green", "blue", "purple"];
export const WIDTHS = [2, 4, 8, 16];
export const TEXT_LIMIT = 1000; // characters
export const POINTS_LIMIT = 600; // of a stroke: as JSON at most 11 KB of the 16 KB that a value may have
const KEY = /^shape:[\w-]{1,60}$/;
const FARTHEST = 1000000; // units from the origin, in each direction
const ORDER_LIMIT = 1e9;
const LINES_LIMIT = 100;
const NUMBERS = { pen: [2, 2 * POINTS_LIMIT], line: [4, 4], rectangle: [4, 4], ellipse: [4, 4], text: [2, 2] };
// What XML cannot hold would spoil an export; a lone half of a character is none.
const UNPRINTABLE = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\ufffe\uffff]|\p{Cs}/gu;

export function isShapeKey(key) {
  return KEY.test(key);
}

export function isCoordinate(value) {
  return typeof value === "number" && Math.abs(value) <= FARTHEST;
}

export function newId() {
  return Array.from(crypto.getRandomValues(new Uint32Array(2)), (number) => number.toString(36)).join("");
}

export function newKey() {
  return `shape:${newId()}`;
}

// What of a text can be shown.
export function cleanText(text) {
  const clean = text.replace(/\r\n?/g, "\n").replace(/\t/g, "  ").replace(UNPRINTABLE, "");
  return clean.slice(0, TEXT_LIMIT).split("\n").slice(0, LINES_LIMIT).join("\n").trimEnd();
}

export function parseShape(value) {
  if (value === null || typeof value !== "object") return null;
  const { type, color, width, points, order, text } = value;
  if (typeof type !== "string" || !Object.hasOwn(NUMBERS, type) || !COLORS.includes(color) || !WIDTHS.includes(width)) return null;
  if (!Number.isInteger(order) || order < 0 || order > ORDER_LIMIT) return null;
  const [least, most] = NUMBERS[type];
  if (!Array.isArray(points) || points.length < least || points.length > most || points.length % 2) return null;
  if (!points.every(isCoordinate)) return null;
  const shape = { type, color, width, order, points: points.slice() };
  if (type !== "text") return shape;
  if (typeof text !== "string" || text.length > TEXT_LIMIT) return null;
  shape.text = cleanText(text);
  return shape.text.trim() ? shape : null;
}

// One place above what is there, as the one who draws sees it.
export function orderAbove(order) {
  return Math.min(order + 1, ORDER_LIMIT);
}

export function fontSize(shape) {
  return 12 + 2 * shape.width; // 16, 20, 28, 44
}

export function isSame(one, other) {
  return one === other || (Boolean(one && other) && JSON.stringify(one) === JSON.stringify(other));
}

export function nameOf(shape) {
  const color = shape.color === "ink" ? "black" : shape.color;
  const type = shape.type === "pen" ? "pen stroke" : shape.type;
  return shape.type === "text" ? `${color} text “${shape.text.slice(0, 40)}”` : `${color} ${type}`;
}
