// Publishes this computer's camera into a session, by WHIP (RFC 9725).

import { ask, read, Refusal } from "./api.js";
import { completeOffer, newPeer } from "./peer.js";

const SIZE = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
const WANTED = { video: SIZE, audio: false };

export class Publisher {
  // onState("off" | "asking" | "on", sentence)
  constructor(session, video, onState) {
    Object.assign(this, { session, video, onState });
    this.stream = this.peer = this.place = null;
  }

  get on() {
    return this.stream !== null;
  }

  async start() {
    this.onState("asking", "Waiting for the camera.");
    try {
      this.stream = await navigator.mediaDevices.getUserMedia(WANTED);
      this.video.srcObject = this.stream;
      await this.#publish();
      this.onState("on", "This camera is being published.");
    } catch (error) {
      await this.stop(error instanceof Refusal ? error.message : cameraTrouble(error));
    }
  }

  async #publish() {
    const peer = newPeer();
    this.peer = peer;
    const [track] = this.stream.getVideoTracks();
    track.onended = () => this.stop("The camera went away.");
    peer.addTransceiver(track, { direction: "sendonly", streams: [this.stream] });
    peer.onconnectionstatechange = () => {
      if (peer !== this.peer || !["failed", "closed"].includes(peer.connectionState)) return;
      this.stop("The connection to the service broke.");
    };
    const sdp = await completeOffer(peer);
    const answer = await ask(`/whip/${encodeURIComponent(this.session)}`, { method: "POST", sdp });
    this.place = answer.headers.get("Location");
    await peer.setRemoteDescription({ type: "answer", sdp: await read(answer, "text") });
  }

  async stop(sentence = "") {
    const { stream, peer, place } = this;
    this.stream = this.peer = this.place = null;
    stream?.getTracks().forEach((track) => track.stop());
    this.video.srcObject = null;
    this.onState("off", sentence);
    if (place) await ask(place, { method: "DELETE" }).catch(() => {}); // gone already: as wished
    peer?.close();
  }
}

function cameraTrouble(error) {
  if (error.name === "NotAllowedError") return "The browser was not allowed to use the camera.";
  if (error.name === "NotFoundError") return "This computer has no camera.";
  return "The camera could not be used.";
}

export function canPublish() {
  return Boolean(navigator.mediaDevices?.getUserMedia); // only on a secure origin
}
