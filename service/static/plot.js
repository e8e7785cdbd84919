// Confidence over time as a small SVG: one line a class, a tick where the learner took an update.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 150;
const LEFT = 38, RIGHT = 8, TOP = 8, BOTTOM = 22;
const SPAN_S = 120;

// history: [{ t_s, confidence: { id: 0..1 }, accepted, rolled_back }], oldest first; classes: of the status
export function plot(svg, history, classes) {
  const width = svg.clientWidth || 520; // drawn at its own size: letters stay letters on a phone
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  const end = history.at(-1)?.t_s ?? 0;
  const right = width - RIGHT;
  const x = (t) => right - ((end - t) / SPAN_S) * (right - LEFT);
  const y = (share) => HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
  const parts = [...axes(x, y, end, right)];
  for (const { id, color } of classes) {
    const points = history.map(({ t_s, confidence }) => `${x(t_s).toFixed(1)},${y(confidence[id] ?? 0).toFixed(1)}`);
    parts.push(shape("polyline", { points: points.join(" "), stroke: color, class: "line" }));
  }
  parts.push(...ticks(history, x));
  svg.replaceChildren(...parts);
}

function* axes(x, y, end, right) {
  for (const share of [0, 0.5, 1]) {
    yield shape("line", { x1: LEFT, x2: right, y1: y(share), y2: y(share), class: "grid" });
    yield label(LEFT - 6, y(share) + 4, `${share * 100}%`, "end");
  }
  yield label(x(end - SPAN_S), HEIGHT - 5, "2 min ago", "start");
  yield label(x(end - SPAN_S / 2), HEIGHT - 5, "1 min", "middle");
  yield label(x(end), HEIGHT - 5, "now", "end");
}

// On the base line: what the learner did since the sample before.
function* ticks(history, x) {
  for (let at = 1; at < history.length; at++) {
    const [before, now] = [history[at - 1], history[at]];
    for (const name of ["accepted", "rolled_back"]) {
      if (now[name] <= before[name]) continue;
      const place = { x1: x(now.t_s), x2: x(now.t_s), y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM - 9 };
      yield shape("line", { ...place, class: `tick ${name}` });
    }
  }
}

function label(x, y, text, anchor) {
  const made = shape("text", { x, y, "text-anchor": anchor });
  made.textContent = text;
  return made;
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
