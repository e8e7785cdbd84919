// What every RTCPeerConnection of ours has in common.

import { askJson } from "./api.js";

const GATHER_MS = 3000; // a relay that does not answer must not hold up those who need none

// No server is asked for our own address: the service is on the same network, or names a relay.
export function newPeer() {
  return new RTCPeerConnection({ iceServers: [] });
}

// Our offer with all its candidates in it: the service takes no later ones. Throws a Refusal.
export async function completeOffer(peer) {
  peer.setConfiguration(await askJson("/api/ice"));
  await peer.setLocalDescription(await peer.createOffer());
  await Promise.race([gathered(peer), new Promise((resolve) => setTimeout(resolve, GATHER_MS))]);
  return peer.localDescription.sdp;
}

function gathered(peer) {
  if (peer.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    peer.addEventListener("icegatheringstatechange", () => {
      if (peer.iceGatheringState === "complete") resolve();
    });
  });
}
