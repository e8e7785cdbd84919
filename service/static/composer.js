// The composed view: each video frame is drawn together with its own mask, or without any.
//
// A frame taken from the video carries its RTP time, and so does a mask message: they belong
// together where the two are equal. Picture and mask are drawn in one go, so no screen ever shows a
// mask over another frame. As masks come a little later than their frames, frames wait for them:
// as long as masks usually need, at most two frame intervals. A frame whose time is up is drawn
// plain; its mask may still join it while it is the one on the screen. Later ones are not drawn.

import { decodeMask, MaskRing } from "./masks.js";
import { quantile } from "./measure.js";

const TICKS_A_MS = 90; // of the RTP clock
const WAITING = 4; // frames; the decoder lends only a few
const REMEMBERED = 32; // frames, to tell how late their masks come
const RECENT_MS = 1500;
const MARGIN_MS = 4;
const HOLD_MS = 200;
const WORTH_WAITING = 0.5; // share of masks in time, below which waiting costs more than it gives

export class Composer {
  // onShown({ mask, waitedMs, receivedAt }) of each frame; mask: "own", "held" or "none".
  // A mask that joins a frame on the screen is told as { mask: "joined" }.
  constructor({ video, picture, painter, onShown }) {
    Object.assign(this, { video, picture, painter, onShown });
    this.context = picture.getContext("2d", { alpha: false });
    this.hold = false;
    this.masksWanted = true;
    this.ring = new MaskRing();
    this.bad = 0; // messages that were none
    this.waiting = []; // { frame, stamp, at, receivedAt }, oldest first
    this.seen = new Map(); // stamp -> when its frame came
    this.lags = []; // { at, ms }: how much later than its frame a mask came
    this.shown = null; // { stamp, aspect } of a frame that is on the screen without its mask
    this.drawn = null; // RTP time of the frame that is on the screen, null where it is not known
    this.ticking = false;
  }

  // A message from the data channel.
  addMask(buffer) {
    let mask;
    try {
      mask = decodeMask(buffer);
    } catch {
      this.bad += 1;
      return;
    }
    this.ring.put(mask);
    const came = this.seen.get(mask.stamp);
    if (came !== undefined) this.#noteLag(performance.now() - came);
    if (this.masksWanted && this.shown?.stamp === mask.stamp) {
      this.#paint(mask, { held: false, aspect: this.shown.aspect });
      this.shown = null;
      this.onShown({ mask: "joined" });
    }
  }

  // The video shows a new frame: take it.
  addFrame(metadata) {
    let frame;
    try {
      frame = new VideoFrame(this.video);
    } catch {
      return; // the video has just been taken away
    }
    const stamp = stampOf(frame, metadata);
    const at = performance.now();
    if (stamp !== null) {
      this.seen.set(stamp, at);
      if (this.seen.size > REMEMBERED) this.seen.delete(this.seen.keys().next().value);
      if (this.ring.of(stamp)) this.#noteLag(0);
    }
    this.waiting.push({ frame, stamp, at, receivedAt: metadata.receiveTime });
    if (this.waiting.length > WAITING) this.waiting.shift().frame.close();
    if (!this.ticking) requestAnimationFrame(() => this.#tick());
    this.ticking = true;
  }

  // Forget everything of a connection that is gone.
  clear() {
    for (const { frame } of this.waiting) frame.close();
    this.waiting = [];
    this.ring.clear();
    this.seen.clear();
    this.lags = [];
    this.shown = this.drawn = null;
    this.#paint(null, {});
  }

  // How long a frame waits for its mask now, milliseconds.
  waitMs() {
    const recent = this.#recentLags();
    const longest = 2 * this.#intervalMs();
    const inTime = recent.filter((ms) => ms <= longest).length;
    if (!this.masksWanted || recent.length < 3 || inTime < WORTH_WAITING * recent.length) return 0;
    return Math.min(longest, quantile(recent, 0.95) + MARGIN_MS);
  }

  #tick() {
    const now = performance.now();
    const wait = this.waitMs();
    let newest = this.waiting.length - 1;
    while (newest >= 0 && !this.#ready(this.waiting[newest], now, wait)) newest -= 1;
    if (newest >= 0) {
      const gone = this.waiting.splice(0, newest + 1);
      this.#draw(gone[newest], now);
      for (const { frame } of gone) frame.close();
    }
    this.ticking = this.waiting.length > 0;
    if (this.ticking) requestAnimationFrame(() => this.#tick());
  }

  #ready({ stamp, at }, now, wait) {
    return now - at >= wait || this.ring.of(stamp) !== null;
  }

  #draw({ frame, stamp, at, receivedAt }, now) {
    const { picture } = this;
    const [width, height] = [frame.displayWidth, frame.displayHeight];
    if (picture.width !== width) picture.width = width;
    if (picture.height !== height) picture.height = height;
    this.context.drawImage(frame, 0, 0, width, height);
    const own = this.masksWanted ? this.ring.of(stamp) : null;
    const held = this.masksWanted && this.hold && !own && stamp !== null
      ? this.ring.before(stamp, HOLD_MS * TICKS_A_MS) : null;
    const aspect = width / height;
    this.drawn = stamp;
    this.shown = own || stamp === null ? null : { stamp, aspect };
    this.#paint(own ?? held, { held: !own, aspect });
    this.onShown({ mask: own ? "own" : held ? "held" : "none", waitedMs: now - at, receivedAt });
  }

  #paint(mask, { held, aspect }) {
    if (mask) this.painter.paint(mask, { held, aspect });
    else this.painter.clear();
    // For whoever checks us: the number of the frame that the drawn mask belongs to.
    this.picture.dataset.mask = mask && !held ? String(mask.frame) : "";
  }

  #noteLag(ms) {
    this.lags.push({ at: performance.now(), ms });
    if (this.lags.length > REMEMBERED) this.lags.shift();
  }

  #recentLags() {
    const since = performance.now() - RECENT_MS;
    return this.lags.filter(({ at }) => at >= since).map(({ ms }) => ms);
  }

  // Between two frames of the source, from their own time.
  #intervalMs() {
    const stamps = [...this.seen.keys()];
    const gaps = stamps.slice(1).map((stamp, index) => ((stamp - stamps[index]) >>> 0) / TICKS_A_MS);
    return gaps.length ? Math.min(100, quantile(gaps, 0.5)) : 40;
  }
}

// The RTP time of the very frame that we hold. The video may have gone on since its callback was
// called; where the frame does not say its time itself, the two must agree on the frame's media time.
function stampOf(frame, { rtpTimestamp, mediaTime }) {
  const own = frame.metadata?.().rtpTimestamp;
  if (own !== undefined) return own;
  const same = Math.abs(frame.timestamp - mediaTime * 1e6) < 500;
  return same && rtpTimestamp !== undefined ? rtpTimestamp : null;
}

export function canCompose() {
  return "VideoFrame" in window && "requestVideoFrameCallback" in HTMLVideoElement.prototype;
}
