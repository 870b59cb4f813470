// The board as a file: SVG, or PNG of at most 4,096 pixels a side, which phones can still paint. Always on white.

import { elementOf, svg } from "./elements.js";

const PAINTS = {
  ink: "#1f2328",
  red: "#c9252d",
  orange: "#bb5900",
  green: "#1a7f37",
  blue: "#0b62d6",
  purple: "#7b3fd1",
};
const MARGIN = 24;
const SIDE_LIMIT_PIXELS = 4096;
const SHARPNESS = 2; // pixels for a unit, if there is room

export function svgOf(view) {
  const { left, top, right, bottom } = view.content ?? { left: 0, top: 0, right: 100, bottom: 100 };
  const box = { x: left - MARGIN, y: top - MARGIN, width: right - left + 2 * MARGIN, height: bottom - top + 2 * MARGIN };
  const { x, y, width, height } = box;
  const root = svg("svg", { xmlns: "http://www.w3.org/2000/svg", viewBox: `${x} ${y} ${width} ${height}`, width, height });
  root.append(svg("rect", { ...box, fill: "#fff" }));
  for (const key of view.keys) root.append(elementOf(view.get(key), PAINTS[view.get(key).color]));
  return { text: new XMLSerializer().serializeToString(root), width, height };
}

export async function pngOf(view) {
  const { text, width, height } = svgOf(view);
  const scale = Math.min(SHARPNESS, SIDE_LIMIT_PIXELS / width, SIDE_LIMIT_PIXELS / height);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no PNG could be made"))), "image/png");
  });
}
