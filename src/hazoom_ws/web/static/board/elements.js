// SVG elements of shapes, for the page and for what is exported of it. Texts become text nodes, nothing becomes markup.

import { fontSize } from "./shapes.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const TAGS = { pen: "path", line: "line", rectangle: "rect", ellipse: "ellipse", text: "text" };
const LINE_HEIGHT = 1.25; // of the font's size
const RIGHT_TO_LEFT = /^\P{L}*[\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u;

export function svg(tag, attributes = {}) {
  const element = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function pathOf(points) {
  let path = `M${points[0]} ${points[1]}L${points[0]} ${points[1]}`; // a dot has a length too
  for (let i = 2; i < points.length; i += 2) path += ` ${points[i]} ${points[i + 1]}`;
  return path;
}

function placeOf({ type, points }) {
  const [ax, ay, bx, by] = points;
  if (type === "pen") return { d: pathOf(points) };
  if (type === "line") return { x1: ax, y1: ay, x2: bx, y2: by };
  const [width, height] = [Math.abs(bx - ax), Math.abs(by - ay)];
  if (type === "rectangle") return { x: Math.min(ax, bx), y: Math.min(ay, by), width, height };
  return { cx: (ax + bx) / 2, cy: (ay + by) / 2, rx: width / 2, ry: height / 2 };
}

// ``paint``: a color to write down; without it the page's style sheet has it, light or dark.
export function elementOf(shape, paint) {
  const element = svg(TAGS[shape.type]);
  if (!paint) element.setAttribute("class", `shape ${shape.type} color-${shape.color}`);
  if (shape.type === "text") return fillText(element, shape, paint);
  const attributes = { ...placeOf(shape), "stroke-width": shape.width, fill: "none" };
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.setAttribute("stroke-linecap", "round");
  element.setAttribute("stroke-linejoin", "round");
  if (paint) element.setAttribute("stroke", paint);
  return element;
}

function fillText(element, shape, paint) {
  const size = fontSize(shape);
  const [x, y] = shape.points;
  const isRightToLeft = RIGHT_TO_LEFT.test(shape.text);
  element.setAttribute("direction", isRightToLeft ? "rtl" : "ltr");
  element.setAttribute("text-anchor", isRightToLeft ? "end" : "start"); // the left one, either way
  element.setAttribute("font-size", size);
  if (paint) {
    element.setAttribute("fill", paint);
    element.setAttribute("font-family", "system-ui, sans-serif");
    element.setAttribute("xml:space", "preserve");
  }
  shape.text.split("\n").forEach((line, i) => {
    const part = svg("tspan", { x, y: y + size * (1 + i * LINE_HEIGHT) });
    part.textContent = line;
    element.append(part);
  });
  return element;
}
