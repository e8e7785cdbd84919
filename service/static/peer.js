// What every RTCPeerConnection of ours has in common.

// No server is asked for our own address: the service is on the same network.
export function newPeer() {
  return new RTCPeerConnection({ iceServers: [] });
}

// Our offer with all its candidates in it: the service takes no later ones.
export async function completeOffer(peer) {
  await peer.setLocalDescription(await peer.createOffer());
  if (peer.iceGatheringState !== "complete") {
    await new Promise((resolve) => {
      peer.addEventListener("icegatheringstatechange", () => {
        if (peer.iceGatheringState === "complete") resolve();
      });
    });
  }
  return peer.localDescription.sdp;
}
