// A viewer's connection: asked for, watched, and asked for again when it is lost.

import { ask, read, Refusal } from "./api.js";
import { completeOffer, newPeer } from "./peer.js";

const PAUSES_MS = [300, 1000, 2000, 4000, 8000]; // before each new attempt; the last one repeats
const CONNECT_MS = 10_000;
const SOON_MS = 1000; // a new view that has not come by then is told of

export class Connection {
  // onMask(ArrayBuffer); onState("connecting" | "connected" | "behind" | "lost", sentence)
  // behind: what plays is not the view that was asked for
  constructor({ path, video, onMask, onState }) {
    Object.assign(this, { path, video, onMask, onState });
    this.view = null;
    this.peer = null; // the one that plays
    this.playing = null; // what it plays
    this.next = null; // the one that shall
    this.failures = 0;
    this.timer = null;
    this.patience = null;
  }

  // Id of the connection that plays; null where none does.
  get viewer() {
    return this.peer?.viewer ?? null;
  }

  // Play "overlay" or "plain". What plays goes on until the new picture is there.
  show(view) {
    this.view = view;
    this.failures = 0;
    if (this.peer === null || this.playing !== view) this.#attempt();
    else {
      this.#stopTrying(); // it has not gone yet
      this.onState("connected", "");
    }
  }

  // Do not wait for the next attempt: there is reason to hope.
  hurry() {
    if (this.timer !== null && this.next === null) this.#attempt();
  }

  close() {
    this.#stopTrying();
    this.#drop("peer");
  }

  #stopTrying() {
    clearTimeout(this.timer);
    clearTimeout(this.patience);
    this.timer = null;
    this.#drop("next");
  }

  async #attempt() {
    this.#stopTrying();
    const peer = newPeer();
    const { view } = this;
    this.next = peer;
    if (this.peer === null && this.failures === 0) this.onState("connecting", "");
    this.patience = setTimeout(() => this.#tellBehind(peer, "The new view has not come yet."), SOON_MS);
    this.timer = setTimeout(() => this.#lost(peer, "No picture came in time."), CONNECT_MS);
    this.#prepare(peer, view);
    try {
      const sdp = await completeOffer(peer);
      const json = { sdp, type: "offer", view, replaces: this.peer?.viewer };
      const response = await ask(`${this.path}/offer`, { method: "POST", json });
      peer.viewer = response.headers.get("Location")?.split("/").at(-1);
      const answer = await read(response, "json");
      if (peer === this.next) await peer.setRemoteDescription(answer);
    } catch (error) {
      const known = error instanceof Refusal;
      this.#lost(peer, known ? error.message : "The service's answer could not be used.");
    }
  }

  #prepare(peer, view) {
    const { receiver } = peer.addTransceiver("video", { direction: "recvonly" });
    if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
    const channel = peer.createDataChannel("masks", { ordered: false, maxRetransmits: 0 });
    channel.binaryType = "arraybuffer";
    channel.onmessage = ({ data }) => {
      if (peer === this.peer || peer === this.next) this.onMask(data);
    };
    channel.onclose = () => this.#lost(peer, "The service ended the connection.");
    peer.ontrack = ({ track }) => {
      if (track.muted) track.onunmute = () => this.#plays(peer, track, view);
      else this.#plays(peer, track, view);
    };
    peer.onconnectionstatechange = () => {
      if (["failed", "disconnected"].includes(peer.connectionState)) {
        this.#lost(peer, "The connection to the service broke.");
      }
    };
  }

  #plays(peer, track, view) {
    if (peer !== this.next) return;
    this.#drop("peer");
    [this.peer, this.playing, this.next] = [peer, view, null];
    this.failures = 0;
    clearTimeout(this.timer);
    clearTimeout(this.patience);
    this.timer = null;
    this.video.srcObject = new MediaStream([track]);
    this.onState("connected", "");
  }

  #lost(peer, sentence) {
    if (peer !== this.peer && peer !== this.next) return; // of one that we closed ourselves
    this.#tellBehind(peer, sentence);
    this.#drop(peer === this.peer ? "peer" : "next");
    if (this.peer === null) this.onState("lost", sentence);
    if (this.next !== null) return; // another attempt is under way
    clearTimeout(this.timer);
    const pause = PAUSES_MS[Math.min(this.failures, PAUSES_MS.length - 1)];
    this.failures += 1;
    this.timer = setTimeout(() => this.#attempt(), pause);
  }

  // The one that shall play does not, and another one plays on.
  #tellBehind(peer, sentence) {
    clearTimeout(this.patience);
    if (peer === this.next && this.peer !== null) this.onState("behind", sentence);
  }

  #drop(which) {
    const peer = this[which];
    this[which] = null;
    peer?.close();
  }
}
