// What the viewer chose. It lives in the page's address, so that a screen comes back as it was set
// up. What takes something away from the eye (overlay off, hidden classes) is not kept.

import { canCompose } from "./composer.js";

export const OPACITY_STEP = 0.1;

export class Choices {
  constructor() {
    const given = new URLSearchParams(location.search);
    const opacity = Number(given.get("opacity") ?? 40) / 100;
    this.view = given.get("view") === "composed" && canCompose() ? "composed" : "burnt";
    this.style = given.get("style") === "contour" ? "contour" : "fill";
    this.opacity = opacity >= 0.1 && opacity <= 1 ? opacity : 0.4;
    this.hold = given.get("hold") === "1";
    this.overlay = true;
    this.hidden = new Set();
  }

  // The rendition to ask the service for. Masks that are burnt in are switched off by asking for
  // the other one.
  get rendition() {
    return this.view === "burnt" && this.overlay ? "overlay" : "plain";
  }

  get composed() {
    return this.view === "composed";
  }

  dim(by) {
    this.opacity = Math.min(1, Math.max(0.1, Math.round((this.opacity + by) * 10) / 10));
  }

  toggleClass(id) {
    if (!this.hidden.delete(id)) this.hidden.add(id);
  }

  keep() {
    const kept = new URLSearchParams();
    if (this.composed) {
      kept.set("view", "composed");
      if (this.style === "contour") kept.set("style", "contour");
      if (this.opacity !== 0.4) kept.set("opacity", Math.round(this.opacity * 100));
      if (this.hold) kept.set("hold", "1");
    }
    const query = kept.toString();
    history.replaceState(null, "", query ? `?${query}` : location.pathname);
  }
}
