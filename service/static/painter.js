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
    for (const { id, color } of shown) {
      this.#shape(outline(mask, id, found.get(id), scale), color, held);
    }
    for (const { id, name, color } of shown) this.#label(name, color, found.get(id), scale);
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

  // The name above its class, or below where there is no room; never across the middle of it.
  #label(name, color, [left, top, right, bottom], scale) {
    if (right - left < 12 && bottom - top < 12) return; // too small to point at
    const { context, canvas } = this;
    const size = Math.max(12, Math.round(canvas.height / 36));
    context.font = `600 ${size}px "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif`;
    const text = name.replaceAll("_", " ");
    const width = context.measureText(text).width + size;
    const height = size * 1.5;
    const above = top * scale - height - 6;
    const below = Math.min((bottom + 1) * scale + 6, canvas.height - height);
    const y = above >= 0 ? above : below;
    const middle = ((left + right + 1) / 2) * scale;
    const x = Math.max(0, Math.min(middle - width / 2, canvas.width - width));
    context.fillStyle = EDGE;
    context.beginPath();
    context.roundRect(x, y, width, height, size / 4);
    context.fill();
    context.fillStyle = color;
    context.textBaseline = "middle";
    context.fillText(text, x + size / 2, y + height / 2);
  }
}
