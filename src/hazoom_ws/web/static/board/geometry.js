// Plain geometry, of numbers only. Points are flat: [x, y, x, y, ...], in units of the board.

export function round(number) {
  return Math.round(number * 10) / 10;
}

// The squared distance of a point from the line between two others.
function squaredDistance(x, y, ax, ay, bx, by) {
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy;
  const share = length ? Math.max(0, Math.min(1, ((x - ax) * dx + (y - ay) * dy) / length)) : 0;
  const [ex, ey] = [x - ax - share * dx, y - ay - share * dy];
  return ex * ex + ey * ey;
}

// Ramer-Douglas-Peucker: leaves out points that are closer than ``tolerance`` to the line without them.
export function simplify(points, tolerance) {
  const last = points.length / 2 - 1;
  if (last < 2) return points.map(round);
  const isKept = new Uint8Array(last + 1);
  isKept[0] = isKept[last] = 1;
  const parts = [[0, last]];
  while (parts.length) {
    const [from, to] = parts.pop();
    let farthest = 0;
    let distance = tolerance * tolerance;
    for (let i = from + 1; i < to; i += 1) {
      const ends = [points[2 * from], points[2 * from + 1], points[2 * to], points[2 * to + 1]];
      const here = squaredDistance(points[2 * i], points[2 * i + 1], ...ends);
      if (here > distance) [farthest, distance] = [i, here];
    }
    if (!farthest) continue;
    isKept[farthest] = 1;
    parts.push([from, farthest], [farthest, to]);
  }
  const result = [];
  for (let i = 0; i <= last; i += 1) if (isKept[i]) result.push(round(points[2 * i]), round(points[2 * i + 1]));
  return result;
}

// Cuts a stroke into pieces of at most ``limit`` points, each beginning where the one before it ends.
export function split(points, limit) {
  const pieces = [];
  for (let from = 0; from === 0 || from < points.length - 2; from += 2 * (limit - 1)) {
    pieces.push(points.slice(from, from + 2 * limit));
  }
  return pieces;
}

// {left, top, right, bottom} of points, with a margin.
export function boundsOf(points, margin = 0) {
  const bounds = { left: Infinity, top: Infinity, right: -Infinity, bottom: -Infinity };
  for (let i = 0; i < points.length; i += 2) {
    bounds.left = Math.min(bounds.left, points[i] - margin);
    bounds.right = Math.max(bounds.right, points[i] + margin);
    bounds.top = Math.min(bounds.top, points[i + 1] - margin);
    bounds.bottom = Math.max(bounds.bottom, points[i + 1] + margin);
  }
  return bounds;
}

export function union(all) {
  const corners = all.flatMap((one) => [one.left, one.top, one.right, one.bottom]);
  return corners.length ? boundsOf(corners) : null;
}

export function isInside(bounds, x, y, margin = 0) {
  const isAcross = x >= bounds.left - margin && x <= bounds.right + margin;
  return isAcross && y >= bounds.top - margin && y <= bounds.bottom + margin;
}

export function holds(outer, inner) {
  return isInside(outer, inner.left, inner.top) && isInside(outer, inner.right, inner.bottom);
}

export function moved(shape, dx, dy) {
  return { ...shape, points: shape.points.map((number, i) => round(number + (i % 2 ? dy : dx))) };
}

// The outline of a shape as points, for finding what is under a pointer.
function outline({ type, points }) {
  if (type === "pen" || type === "line") return points;
  const [ax, ay, bx, by] = points;
  if (type === "rectangle") return [ax, ay, bx, ay, bx, by, ax, by, ax, ay];
  const result = [];
  for (let i = 0; i <= 48; i += 1) {
    const angle = (i / 24) * Math.PI;
    result.push((ax + bx + (bx - ax) * Math.cos(angle)) / 2, (ay + by + (by - ay) * Math.sin(angle)) / 2);
  }
  return result;
}

// Whether a shape's line is within ``reach`` of a point. Texts are found by their bounds instead.
export function touches(shape, x, y, reach) {
  const points = outline(shape);
  const limit = (reach + shape.width / 2) ** 2;
  for (let i = 0; i < points.length; i += 2) {
    const next = Math.min(i + 2, points.length - 2);
    if (squaredDistance(x, y, points[i], points[i + 1], points[next], points[next + 1]) <= limit) return true;
  }
  return false;
}

// The second end of a line, rectangle or ellipse that is to be straight or even-sided.
export function straightened(type, ax, ay, bx, by) {
  const [dx, dy] = [bx - ax, by - ay];
  if (type === "line") {
    const angle = (Math.round(Math.atan2(dy, dx) / (Math.PI / 4)) * Math.PI) / 4;
    const length = Math.hypot(dx, dy);
    return [ax + length * Math.cos(angle), ay + length * Math.sin(angle)];
  }
  const side = Math.max(Math.abs(dx), Math.abs(dy));
  return [ax + side * (Math.sign(dx) || 1), ay + side * (Math.sign(dy) || 1)];
}
