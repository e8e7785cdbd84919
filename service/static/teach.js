// Teaching on the display: press on an instrument, choose what it is; undo for a while.
//
// The picture goes on meanwhile. A press belongs to the frame that was on the screen, so the service
// is asked at once to keep that frame: to choose a name takes longer than it keeps frames by itself.

import { ask, Refusal } from "./api.js";

const UNDO_MS = 6000;
const SAID_MS = 6000; // a refusal is for reading
const DONE_MS = 3000;
const PATIENCE_MS = 20_000; // the service itself gives a lesson no longer
const NOTHING = { id: 0, name: "nothing", color: "transparent" };

export class Teach {
  // elements: { stage, video, state, names, spot, lesson, said, undo }
  // seen(): { frame, viewer } of what is on the screen, null where nobody knows; onChange() of the mode
  constructor({ path, elements, seen, onChange }) {
    Object.assign(this, { path, elements, seen, onChange });
    this.on = false;
    this.classes = []; // { id, name, color }
    this.press = null; // { frame, viewer, x, y } while its name is being chosen
    this.undoable = false;
    this.timer = null;
    elements.stage.addEventListener("pointerdown", (event) => this.#pressed(event));
    elements.undo.addEventListener("click", () => this.undo());
  }

  get choosing() {
    return this.press !== null;
  }

  toggle() {
    this.on = !this.on;
    this.elements.stage.classList.toggle("teaching", this.on);
    this.#close();
    if (this.on) this.#say("Press on an instrument.", { forMs: SAID_MS });
    else if (!this.undoable) this.#hush();
    this.onChange();
  }

  // Escape: first the menu, then the mode.
  back() {
    if (this.choosing) this.#close();
    else if (this.on) this.toggle();
  }

  // A key of the menu: 1 to 9 for a class, 0 for nothing.
  choose(key) {
    const chosen = key === "0" ? NOTHING : this.classes[Number(key) - 1];
    if (this.choosing && chosen) this.#teach(chosen);
  }

  async undo() {
    if (!this.undoable) return;
    this.undoable = false;
    this.#say("Taking it back …");
    try {
      await ask(`${this.path}/lessons/last`, { method: "DELETE", patienceMs: PATIENCE_MS });
      this.#say("Taken back.", { forMs: DONE_MS });
    } catch (error) {
      this.#refused(error);
    }
  }

  #pressed(event) {
    const { names, lesson } = this.elements;
    if (!this.on || !event.isPrimary || event.button !== 0) return;
    if (names.contains(event.target) || lesson.contains(event.target)) return;
    event.preventDefault();
    const place = this.#inPicture(event);
    if (this.choosing) this.#close(); // a press beside the menu closes it, and means nothing else
    else if (place) this.#ask(place, event);
  }

  async #ask(place, { clientX, clientY }) {
    const seen = this.seen();
    if (seen === null) {
      this.#say("This browser does not tell which frame was on the screen.", { forMs: SAID_MS, bad: true });
      return;
    }
    const press = this.press = { ...place, ...seen };
    this.#hush();
    this.#open(clientX, clientY);
    try {
      await ask(`${this.path}/lessons/frame`, { method: "POST", json: seen });
    } catch (error) {
      if (this.press !== press) return; // it was closed meanwhile
      this.#close();
      this.#refused(error);
    }
  }

  async #teach({ id, name }) {
    const { frame, viewer, x, y } = this.press;
    const shown = name.replaceAll("_", " ");
    this.#close();
    this.undoable = false;
    this.#say(`Learning: ${shown} …`);
    const json = { frame, viewer, clicks: [{ x, y, on: true }], class_id: id };
    try {
      await ask(`${this.path}/lessons`, { method: "POST", json, patienceMs: PATIENCE_MS });
      this.undoable = true;
      this.#say(`Learnt: ${shown}.`, { forMs: UNDO_MS });
    } catch (error) {
      this.#refused(error);
    }
  }

  // Where in the picture, in shares of its sides; null beside it.
  #inPicture({ clientX, clientY }) {
    const { stage, video } = this.elements;
    const box = stage.getBoundingClientRect();
    const scale = Math.min(box.width / video.videoWidth, box.height / video.videoHeight);
    const x = 0.5 + (clientX - box.left - box.width / 2) / (video.videoWidth * scale);
    const y = 0.5 + (clientY - box.top - box.height / 2) / (video.videoHeight * scale);
    return x >= 0 && x <= 1 && y >= 0 && y <= 1 ? { x, y } : null; // not a number before the first picture
  }

  // The menu beside the press, never over it and never over the badge.
  #open(clientX, clientY) {
    const { stage, state, names, spot } = this.elements;
    const box = stage.getBoundingClientRect();
    const [x, y] = [clientX - box.left, clientY - box.top];
    names.replaceChildren(...this.#choices());
    names.hidden = spot.hidden = false;
    [spot.style.left, spot.style.top] = [`${x}px`, `${y}px`];
    const gap = spot.offsetWidth;
    const top = state.getBoundingClientRect().bottom - box.top + gap / 2;
    names.style.maxHeight = `${box.height - top - gap / 2}px`;
    const [width, height] = [names.offsetWidth, names.offsetHeight];
    const right = x + gap + width <= box.width ? x + gap : x - gap - width;
    names.style.left = `${Math.max(0, right)}px`;
    names.style.top = `${Math.max(top, Math.min(y - height / 2, box.height - height - gap / 2))}px`;
    names.focus({ preventScroll: true }); // Tab goes on to the names
  }

  #choices() {
    const classes = this.classes.map((one, index) => this.#choice(index < 9 ? String(index + 1) : "", one));
    const cancel = this.#choice("Esc", { name: "cancel", color: "" });
    return [...classes, this.#choice("0", NOTHING), cancel];
  }

  #choice(key, one) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "choose" });
    const cap = Object.assign(document.createElement("kbd"), { textContent: key });
    const swatch = Object.assign(document.createElement("i"), { className: "swatch" });
    const name = Object.assign(document.createElement("span"), { textContent: one.name.replaceAll("_", " ") });
    if (one.color) swatch.style.setProperty("--color", one.color);
    swatch.classList.toggle("none", one === NOTHING);
    cap.classList.toggle("unseen", key === "");
    button.append(swatch, name, cap);
    button.addEventListener("click", () => (one.id === undefined ? this.#close() : this.#teach(one)));
    return button;
  }

  #close() {
    this.press = null;
    this.elements.names.hidden = this.elements.spot.hidden = true;
  }

  #refused(error) {
    if (!(error instanceof Refusal)) throw error;
    this.#say(error.message, { forMs: SAID_MS, bad: true });
  }

  #say(text, { forMs = null, bad = false } = {}) {
    const { lesson, said, undo } = this.elements;
    clearTimeout(this.timer);
    said.textContent = text;
    undo.hidden = !this.undoable;
    lesson.classList.toggle("refused", bad);
    lesson.hidden = false;
    if (forMs !== null) this.timer = setTimeout(() => this.#hush(), forMs);
  }

  #hush() {
    clearTimeout(this.timer);
    this.undoable = false;
    this.elements.lesson.hidden = true;
  }
}
