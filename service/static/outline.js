// The outline of one class as smooth closed curves: crisp at any size of the screen.
//
// The class's cells are blurred by one cell and followed at half height (marching squares with
// linear interpolation), so that a slanted edge has no steps. No point moves by more than a cell.

const LEVEL = 0.45; // below a half, so that a line one cell wide stays

// Where each class lies: Map of class id -> [left, top, right, bottom], the ends included.
export function boxes({ grid, width }) {
  const found = new Map();
  for (let at = 0; at < grid.length; at++) {
    const id = grid[at];
    if (id === 0) continue;
    const x = at % width;
    const y = (at - x) / width;
    const box = found.get(id);
    if (box === undefined) {
      found.set(id, [x, y, x, y]);
      continue;
    }
    if (x < box[0]) box[0] = x;
    if (x > box[2]) box[2] = x;
    box[3] = y;
  }
  return found;
}

// Class `id` inside `box` as { path, largest }: a Path2D in grid cells times `scale`, and the box
// [left, top, right, bottom] of its largest part in the same measure, null where there is none.
export function outline(mask, id, box, scale) {
  const field = blurred(mask, id, box);
  const path = new Path2D();
  let largest = null;
  let most = 0;
  for (const loop of loops(field)) {
    const points = loop.map((edge) => crossing(edge, field, scale));
    addCurve(path, points);
    const area = Math.abs(doubleArea(points));
    if (area > most) [largest, most] = [bounds(points), area];
  }
  return { path, largest };
}

// Binomial blur of the class, in a frame of two empty cells: no curve is open.
function blurred({ grid, width }, id, [left, top, right, bottom]) {
  const columns = right - left + 5;
  const rows = bottom - top + 5;
  const across = new Float32Array(columns * rows);
  const values = new Float32Array(columns * rows);
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      if (grid[y * width + x] !== id) continue;
      const at = (y - top + 2) * columns + (x - left + 2);
      across[at - 1] += 0.25;
      across[at] += 0.5;
      across[at + 1] += 0.25;
    }
  }
  for (let at = columns; at < values.length - columns; at++) {
    values[at] = 0.25 * across[at - columns] + 0.5 * across[at] + 0.25 * across[at + columns];
  }
  return { values, columns, rows, left: left - 2, top: top - 2 };
}

// Edges by number: 2 * cell is from a cell to its right, 2 * cell + 1 to the one below.
// For each of the sixteen cases, pairs (from, to) of a square's sides; the class on one side always.
const T = 0, R = 1, B = 2, L = 3;
const CASES = [
  [], [L, T], [T, R], [L, R], [R, B], [L, T, R, B], [T, B], [L, B],
  [B, L], [B, T], [T, R, B, L], [B, R], [R, L], [R, T], [T, L], [],
];

function* loops({ values, columns, rows }) {
  const next = new Int32Array(2 * columns * rows).fill(-1);
  const starts = [];
  for (let y = 0; y < rows - 1; y++) {
    for (let x = 0; x < columns - 1; x++) {
      const at = y * columns + x;
      const pairs = CASES[
        (values[at] > LEVEL) | (values[at + 1] > LEVEL) << 1 |
        (values[at + columns + 1] > LEVEL) << 2 | (values[at + columns] > LEVEL) << 3
      ];
      const sides = [2 * at, 2 * (at + 1) + 1, 2 * (at + columns), 2 * at + 1];
      for (let pair = 0; pair < pairs.length; pair += 2) {
        next[sides[pairs[pair]]] = sides[pairs[pair + 1]];
        starts.push(sides[pairs[pair]]);
      }
    }
  }
  for (const start of starts) {
    const loop = [];
    for (let edge = start; next[edge] !== -1; ) {
      loop.push(edge);
      const following = next[edge];
      next[edge] = -1;
      edge = following;
    }
    if (loop.length > 2) yield loop;
  }
}

function addCurve(path, points) {
  const [x, y] = points[points.length - 1];
  path.moveTo((x + points[0][0]) / 2, (y + points[0][1]) / 2);
  points.forEach(([px, py], index) => {
    const [nx, ny] = points[(index + 1) % points.length];
    path.quadraticCurveTo(px, py, (px + nx) / 2, (py + ny) / 2);
  });
  path.closePath();
}

function doubleArea(points) {
  return points.reduce((sum, [x, y], index) => {
    const [nx, ny] = points[(index + 1) % points.length];
    return sum + x * ny - nx * y;
  }, 0);
}

function bounds(points) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of points) {
    box[0] = Math.min(box[0], x);
    box[1] = Math.min(box[1], y);
    box[2] = Math.max(box[2], x);
    box[3] = Math.max(box[3], y);
  }
  return box;
}

function crossing(edge, { values, columns, left, top }, scale) {
  const at = edge >> 1;
  const down = edge & 1;
  const first = values[at];
  const share = (LEVEL - first) / (values[at + (down ? columns : 1)] - first);
  const x = (at % columns) + left + 0.5 + (down ? 0 : share);
  const y = Math.floor(at / columns) + top + 0.5 + (down ? share : 0);
  return [x * scale, y * scale];
}
