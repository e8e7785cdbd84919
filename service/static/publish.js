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
    this.on = false; // from start() on, while the camera is asked for too
    this.turn = 0; // of the last start or stop; what an earlier one waited for is given back
  }

  async start() {
    if (this.on) this.stop();
    const turn = (this.turn += 1);
    this.on = true;
    this.onState("asking", "Waiting for the camera.");
    try {
      const stream = await navigator.mediaDevices.getUserMedia(WANTED);
      if (turn !== this.turn) return turnOff(stream);
      this.stream = this.video.srcObject = stream;
      await this.#publish(turn);
      if (turn === this.turn) this.onState("on", "This camera is being published.");
    } catch (error) {
      if (turn !== this.turn) return;
      await this.stop(error instanceof Refusal ? error.message : cameraTrouble(error));
    }
  }

  async #publish(turn) {
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
    if (turn !== this.turn) return;
    const answer = await ask(`/whip/${encodeURIComponent(this.session)}`, { method: "POST", sdp });
    const place = answer.headers.get("Location");
    if (turn !== this.turn) return leave(place);
    this.place = place;
    await peer.setRemoteDescription({ type: "answer", sdp: await read(answer, "text") });
  }

  async stop(sentence = "") {
    const { stream, peer, place } = this;
    this.stream = this.peer = this.place = null;
    this.turn += 1;
    this.on = false;
    if (stream) turnOff(stream);
    this.video.srcObject = null;
    this.onState("off", sentence);
    if (place) await leave(place);
    peer?.close();
  }
}

function turnOff(stream) {
  for (const track of stream.getTracks()) track.stop();
}

async function leave(place) {
  await ask(place, { method: "DELETE" }).catch(() => {}); // gone already: as wished
}

function cameraTrouble(error) {
  if (error.name === "NotAllowedError") return "The browser was not allowed to use the camera.";
  if (error.name === "NotFoundError") return "This computer has no camera.";
  return "The camera could not be used.";
}

export function canPublish() {
  return Boolean(navigator.mediaDevices?.getUserMedia); // only on a secure origin
}
