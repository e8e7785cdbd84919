// One session on the control page: its state, its learner, its controls.

import { ask, poll } from "./api.js";
import { FAULTS, KINDS } from "./badge.js";
import { plot } from "./plot.js";
import { canPublish, Publisher } from "./publish.js";

const STATUS_EVERY_MS = 1000;
const INBOUND = "inbound"; // the source of a whip:// session, as the service names it

export class Card {
  // onDelete(card) is called when the user wants the session closed.
  constructor(session, onDelete) {
    this.session = session;
    this.path = `/api/sessions/${encodeURIComponent(session.id)}`;
    this.root = document.getElementById("card").content.firstElementChild.cloneNode(true);
    this.root.dataset.id = session.id;
    this.frozen = false;
    this.recorded = false;
    this.publisher = new Publisher(session.id, this.#part("video"), (...told) => this.#camera(...told));
    this.#part(".button").href = `/display/${encodeURIComponent(session.id)}`;
    this.#part(".delete").addEventListener("click", () => onDelete(this));
    this.#part(".freeze").addEventListener("click", () => {
      this.#tellService(`learner/${this.frozen ? "unfreeze" : "freeze"}`);
    });
    this.#part(".rollback").addEventListener("click", () => this.#tellService("learner/rollback"));
    this.#part(".reset").addEventListener("click", () => this.#tellService("learner/reset"));
    this.#part(".publish").addEventListener("click", () => this.#publish());
    this.#part(".record").addEventListener("click", () => {
      this.#tellService(`recording/${this.recorded ? "stop" : "start"}`);
    });
    this.summary(session);
    const tell = (error) => this.#unknown(error.message);
    this.stop = poll(this.path, STATUS_EVERY_MS, (status) => this.#show(status), tell);
  }

  remove() {
    this.stop();
    if (this.publisher.on) this.publisher.stop();
    this.root.remove();
  }

  // Why what the user asked for was not done; until he asks for something else.
  trouble(sentence) {
    this.#write(".trouble", sentence);
  }

  // What was last known is not true of now.
  #unknown(sentence) {
    this.#write(".silence", sentence);
    this.#part(".state").dataset.kind = "bad";
    this.#write(".state", "NOT KNOWN");
    for (const number of [".fps", ".latency", ".step", ".viewers"]) this.#write(number, "–");
  }

  summary({ id, name, badge, source, profile }) {
    const [text, note] = badge.split(", ");
    const state = this.#part(".state");
    state.dataset.kind = KINDS[text] ?? FAULTS[text]?.[0] ?? "bad";
    this.#write(".state", text);
    this.#write("h3", name || id);
    const from = source === INBOUND ? `whatever is published to ${location.origin}/whip/${id}` : source;
    this.#write(".scene", [from, `profile ${profile}`, note?.toLowerCase()].filter(Boolean).join(" · "));
    this.#part(".publish").hidden = source !== INBOUND || !canPublish();
  }

  #show(status) {
    this.#write(".silence", "");
    this.summary(status);
    this.frozen = status.learner_frozen;
    this.#write(".fps", `${status.fps_out.toFixed(0)} of ${status.source_fps.toFixed(0)} fps`);
    this.#write(".latency", milliseconds(status.capture_to_send_ms));
    this.#write(".step", milliseconds(status.step_ms));
    this.#write(".viewers", status.viewers);
    this.#write(".dropped", Object.values(status.frames_dropped ?? {}).reduce((sum, one) => sum + one, 0));
    for (const result of ["accepted", "waiting", "refused", "rolled_back"]) {
      const count = status.updates[result] ?? 0;
      this.#write(`.updates .${result}`, count);
      this.#part(`.updates .${result}`).classList.toggle("some", count > 0);
    }
    this.#write(".mode", this.frozen ? "frozen" : "on");
    this.#part(".mode").dataset.kind = this.frozen ? "warn" : "good";
    this.#part(".freeze").setAttribute("aria-pressed", String(this.frozen));
    this.#recording(status.recording);
    plot(this.#part(".plot"), status.learner_history, status.classes);
    this.#legend(status.classes);
  }

  #legend(classes) {
    let list = this.root.querySelector(".classes");
    if (!list) {
      list = Object.assign(document.createElement("ul"), { className: "classes" });
      this.#part(".plot").after(list);
    }
    if (list.dataset.of === JSON.stringify(classes.map(({ name }) => name))) return;
    list.dataset.of = JSON.stringify(classes.map(({ name }) => name));
    list.replaceChildren(...classes.map(({ name, color }) => {
      const item = document.createElement("li");
      item.textContent = name.replaceAll("_", " ");
      item.style.setProperty("--color", color);
      return item;
    }));
  }

  // Only where the service was started with a folder for recordings is there a button.
  #recording({ allowed, state, frames }) {
    this.recorded = state === "recording";
    this.#part(".recording").hidden = this.#part(".record").hidden = !allowed;
    this.#part(".record").setAttribute("aria-pressed", String(this.recorded));
    this.#write(".record", this.recorded ? "Stop recording" : "Record");
    this.#write(".recorded", state === "failed" ? "failed, disk full?" : state === "off" ? "no" : `${frames} frames`);
  }

  async #tellService(what) {
    try {
      await ask(`${this.path}/${what}`, { method: "POST" });
      this.trouble("");
    } catch (error) {
      this.trouble(error.message);
    }
  }

  #publish() {
    if (this.publisher.on) this.publisher.stop();
    else this.publisher.start();
  }

  #camera(state, sentence) {
    this.#part(".camera").hidden = state === "off" && !sentence;
    this.#part("video").hidden = state === "off";
    this.#write(".camera-state", sentence);
    this.#write(".publish", state === "off" ? "Publish this camera" : "Stop publishing");
  }

  #part(selector) {
    return this.root.querySelector(selector);
  }

  #write(selector, text) {
    const place = this.#part(selector);
    if (place.textContent !== String(text)) place.textContent = text;
  }
}

function milliseconds({ p50, p95 }) {
  return `${p50.toFixed(0)} ms, p95 ${p95.toFixed(0)}`;
}
