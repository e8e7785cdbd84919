// Paints a mask over the picture: tint or contour, each line with a dark edge to read on any tissue.

import { boxes, outline } from "./outline.js";

const WIDEST = 1920; // pixels of the drawing; a wider screen enlarges it
const EDGE = "rgba(4, 6, 10, 0.85)";

export class Painter {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.classes = []; // { id, name, color }
    this.hidden = new Set(); // class ids
    this.style = "fill"; // or "contour"
    this.opacity = 0.4;
  }

  clear() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  // mask: as decodeMask gives it; held: it belongs to an earlier frame and must look so.
  paint(mask, { held, aspect }) {
    this.#fit(aspect);
    this.clear();
    const scale = this.canvas.width / mask.width;
    const found = boxes(mask);
    const shown = this.classes.filter(({ id }) => found.has(id) && !this.hidden.has(id));
    const shapes = shown.map(({ id, name, color }) => {
      const { path, largest } = outline(mask, id, found.get(id), scale);
      this.#shape(path, color, held);
      return { name, color, largest };
    });
    const taken = [];
    for (const { name, color, largest } of shapes) {
      if (largest && name) this.#label(name, color, largest, taken);
    }
  }

  #fit(aspect) {
    const { canvas } = this;
    const wanted = Math.min(WIDEST, Math.round(canvas.clientWidth * devicePixelRatio) || 640);
    if (canvas.width === wanted && Math.abs(canvas.height - wanted / aspect) <= 1) return;
    canvas.width = wanted;
    canvas.height = Math.round(wanted / aspect);
  }

  #shape(path, color, held) {
    const { context } = this;
    const filled = this.style === "fill" && !held;
    const width = Math.max(1.5, this.canvas.height / (filled ? 450 : 240));
    context.setLineDash(held ? [width * 4, width * 3] : []);
    context.lineJoin = "round";
    if (filled) {
      context.globalAlpha = this.opacity;
      context.fillStyle = color;
      context.fill(path, "evenodd");
    }
    context.globalAlpha = this.style === "fill" ? 1 : 0.6 + 0.4 * this.opacity;
    context.lineWidth = width * 2.2;
    context.strokeStyle = EDGE;
    context.stroke(path);
    context.lineWidth = width;
    context.strokeStyle = color;
    context.stroke(path);
    context.globalAlpha = 1;
  }

  // The name above the largest part of its class, or below; not over another name.
  #label(name, color, [left, top, right, bottom], taken) {
    const { context, canvas } = this;
    const size = Math.max(12, Math.round(canvas.height / 36));
    if (right - left < 2 * size && bottom - top < 2 * size) return; // too small to point at
    context.font = `600 ${size}px "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif`;
    const text = name.replaceAll("_", " ");
    const [width, height] = [context.measureText(text).width + size, size * 1.5];
    const x = within((left + right - width) / 2, canvas.width - width);
    const places = [top - height - 6, bottom + 6, bottom + 6 + height].map((y) => within(y, canvas.height - height));
    const y = places.find((one) => !taken.some((other) => overlap(other, [x, one, width, height])));
    if (y === undefined) return; // the legend names it
    taken.push([x, y, width, height]);
    context.fillStyle = EDGE;
    context.beginPath();
    context.roundRect(x, y, width, height, size / 4);
    context.fill();
    context.fillStyle = color;
    context.textBaseline = "middle";
    context.fillText(text, x + size / 2, y + height / 2);
  }
}

function within(value, most) {
  return Math.max(0, Math.min(value, most));
}

function overlap([ax, ay, aw, ah], [bx, by, bw, bh]) {
  return ax < bx + bw && bx < ax + aw && ay < by + bh && by < ay + ah;
}
