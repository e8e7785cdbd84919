// Mask messages: decoded, and kept until their frames come. See docs/mask-message.md.

const HEAD_BYTES = 17; // and the classes' ids
const LARGEST_SIDE = 1024;
const KEPT = 32; // messages; half a second at 60 a second

// A message as { stamp, frame, width, height, grid }; grid: one class id a cell, row by row.
// Throws an Error that says what was expected.
export function decodeMask(buffer) {
  const bytes = new Uint8Array(buffer);
  const view = new DataView(buffer);
  if (bytes.length < HEAD_BYTES) throw new Error(`expected at least ${HEAD_BYTES} bytes, got ${bytes.length}`);
  if (bytes[0] !== 0x54 || bytes[1] !== 0x4d) throw new Error("expected a mask message");
  if (bytes[2] !== 1) throw new Error(`expected version 1, got ${bytes[2]}`);
  const width = view.getUint16(12, true);
  const height = view.getUint16(14, true);
  if (width < 1 || height < 1 || Math.max(width, height) > LARGEST_SIDE) {
    throw new Error(`expected a grid of 1 to ${LARGEST_SIDE} cells a side, got ${width}x${height}`);
  }
  return {
    stamp: view.getUint32(4, true),
    frame: view.getUint32(8, true),
    width,
    height,
    grid: readRuns(bytes, 17 + bytes[16], width * height),
  };
}

function readRuns(bytes, start, cells) {
  const grid = new Uint8Array(cells);
  let at = start;
  let filled = 0;
  while (at < bytes.length) {
    const value = bytes[at++];
    let length = 0;
    let scale = 1;
    let byte;
    do {
      if (at >= bytes.length || scale > 2 ** 21) throw new Error("expected a run's length");
      byte = bytes[at++];
      length += (byte & 127) * scale;
      scale *= 128;
    } while (byte & 128);
    if (length < 1 || filled + length > cells) throw new Error("expected runs that fit the grid");
    grid.fill(value, filled, filled + length);
    filled += length;
  }
  if (filled !== cells) throw new Error(`expected runs for ${cells} cells, got ${filled}`);
  return grid;
}

// The newest masks by their frame's RTP time; the oldest makes room.
export class MaskRing {
  constructor() {
    this.masks = new Map();
  }

  put(mask) {
    this.masks.set(mask.stamp, mask);
    if (this.masks.size > KEPT) this.masks.delete(this.masks.keys().next().value);
  }

  of(stamp) {
    return this.masks.get(stamp) ?? null;
  }

  // The youngest mask that is older than the frame at `stamp`, by at most `ticks` of its clock.
  before(stamp, ticks) {
    let found = null;
    let youngest = ticks + 1;
    for (const mask of this.masks.values()) {
      const age = (stamp - mask.stamp) >>> 0; // RTP time wraps
      if (age > 0 && age < youngest) [found, youngest] = [mask, age];
    }
    return found;
  }

  clear() {
    this.masks.clear();
  }
}
