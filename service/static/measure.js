// Small statistics over a bounded past.

export function quantile(values, share) {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

// Values of the last `windowMs`, at most `most` of them.
export class Recent {
  constructor(windowMs, most = 256) {
    Object.assign(this, { windowMs, most });
    this.samples = []; // [when, value]
    this.last = null; // when the newest came
  }

  add(value) {
    this.last = performance.now();
    this.samples.push([this.last, value]);
    if (this.samples.length > this.most) this.samples.shift();
  }

  values() {
    const since = performance.now() - this.windowMs;
    return this.samples.filter(([when]) => when >= since).map(([, value]) => value);
  }

  // Events a second.
  rate() {
    return this.values().length / (this.windowMs / 1000);
  }

  // Milliseconds since the newest; null before the first.
  silentMs() {
    return this.last === null ? null : performance.now() - this.last;
  }

  clear() {
    this.samples = [];
    this.last = null;
  }
}
