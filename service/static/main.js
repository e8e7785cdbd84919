// The display: plays the overlay, shows the state the server reports, controls the learner.

const SHOWN = location.pathname.match(/^\/display\/([^/]+)$/)?.[1] ?? "main";
const SESSION = `/api/sessions/${SHOWN}`;
const STATUS_EVERY_MS = 400;
const RECONNECT_AFTER_MS = 1500;
const FROZEN_AFTER_MS = 1500;
const KINDS = {
  LIVE: "good",
  "LIVE, MODEL RATE": "good",
  DEMO: "demo",
  "DEMO, MODEL RATE": "demo",
  RECORDING: "demo",
  "RECORDING, MODEL RATE": "demo",
  STARTING: "warn",
  "AI LATE": "warn",
};

const element = (id) => document.getElementById(id);
const video = element("video");
let connection = null;
let frozen = false;
let displayMs = [];
let shownAt = null;

async function connect() {
  connection?.close();
  const peer = new RTCPeerConnection({ iceServers: [] });
  connection = peer;
  const transceiver = peer.addTransceiver("video", { direction: "recvonly" });
  if ("jitterBufferTarget" in transceiver.receiver) transceiver.receiver.jitterBufferTarget = 0;
  peer.ontrack = (event) => { video.srcObject = new MediaStream([event.track]); };
  peer.onconnectionstatechange = () => {
    if (peer === connection && ["failed", "disconnected"].includes(peer.connectionState)) retry();
  };
  try {
    await peer.setLocalDescription(await peer.createOffer());
    await gathered(peer);
    const response = await fetch(`${SESSION}/offer`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ sdp: peer.localDescription.sdp, type: "offer" }),
    });
    if (!response.ok) throw new Error(`offer answered with ${response.status}`);
    await peer.setRemoteDescription(await response.json());
  } catch {
    if (peer === connection) retry();
  }
}

function retry() {
  element("waiting").hidden = false;
  element("waiting").textContent = "Connection lost, trying again…";
  connection = null;
  setTimeout(() => { if (connection === null) connect(); }, RECONNECT_AFTER_MS);
}

function gathered(peer) {
  if (peer.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    peer.addEventListener("icegatheringstatechange", () => {
      if (peer.iceGatheringState === "complete") resolve();
    });
  });
}

function watchFrames() {
  if (!("requestVideoFrameCallback" in video)) return;
  const onFrame = (now, metadata) => {
    element("waiting").hidden = true;
    shownAt = now;
    if (metadata.receiveTime) {
      displayMs = [...displayMs.slice(-124), metadata.expectedDisplayTime - metadata.receiveTime];
    }
    video.requestVideoFrameCallback(onFrame);
  };
  video.requestVideoFrameCallback(onFrame);
}

// The server may be well while its pictures do not arrive: only the page can know.
function pictureFrozen() {
  if (shownAt === null || document.visibilityState !== "visible") return false;
  return performance.now() - shownAt > FROZEN_AFTER_MS;
}

function median(values) {
  if (values.length === 0) return null;
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

async function refresh() {
  try {
    const response = await fetch(SESSION, { signal: AbortSignal.timeout(2000) });
    show(await response.json());
  } catch {
    setBadge("NO SERVER");
  }
  setTimeout(refresh, STATUS_EVERY_MS);
}

function setBadge(text) {
  const badge = element("badge");
  if (badge.textContent !== text) badge.textContent = text;
  badge.dataset.kind = KINDS[text] ?? "bad";
}

function show(status) {
  setBadge(pictureFrozen() && KINDS[status.badge] ? "PICTURE FROZEN" : status.badge);
  element("scene").textContent = `${status.source} · profile ${status.profile}`;
  element("fps").textContent = `${status.fps_out.toFixed(0)} of ${status.source_fps.toFixed(0)} fps`;
  element("send").textContent = range(status.capture_to_send_ms);
  const display = median(displayMs);
  element("display").textContent = display === null ? "–" : `${display.toFixed(0)} ms`;
  element("step").textContent = range(status.step_ms);
  const dropped = status.frames_dropped;
  element("drops").textContent = `${dropped.newer_frame_came + dropped.model_late} frames`;
  frozen = status.learner_frozen;
  element("freeze").setAttribute("aria-pressed", String(frozen));
  const updates = status.updates;
  const counts = ["accepted", "refused", "rolled_back"]
    .map((key) => `${updates[key] ?? 0} ${key.replace("_", " ")}`);
  element("learner").textContent = `Learner ${frozen ? "frozen" : "on"}: ${counts.join(", ")}`;
  legend(status.classes);
}

function range(quantiles) {
  return `${quantiles.p50.toFixed(0)} ms (p95 ${quantiles.p95.toFixed(0)})`;
}

function legend(classes) {
  const list = element("legend");
  while (list.children.length < classes.length) list.append(row());
  while (list.children.length > classes.length) list.lastChild.remove();
  classes.forEach((one, index) => {
    const item = list.children[index];
    item.classList.toggle("absent", !one.present);
    item.querySelector(".swatch").style.background = one.color;
    item.querySelector(".name").textContent = one.name.replaceAll("_", " ");
    const percent = Math.round(one.confidence * 100);
    item.querySelector(".confidence").textContent = one.present ? `${percent} %` : "absent";
    const bar = item.querySelector(".bar i");
    bar.style.background = one.color;
    bar.style.width = one.present ? `${percent}%` : "0";
  });
}

function row() {
  const item = document.createElement("li");
  for (const name of ["swatch", "name", "confidence"]) {
    const part = document.createElement("span");
    part.className = name;
    item.append(part);
  }
  const bar = document.createElement("span");
  bar.className = "bar";
  bar.append(document.createElement("i"));
  item.append(bar);
  return item;
}

function learner(action) {
  fetch(`${SESSION}/learner/${action}`, { method: "POST" }).catch(() => setBadge("NO SERVER"));
}

const ACTIONS = {
  f: () => learner(frozen ? "unfreeze" : "freeze"),
  b: () => learner("rollback"),
  r: () => learner("reset"),
  h: () => document.body.classList.toggle("bare"),
};

element("freeze").addEventListener("click", ACTIONS.f);
element("rollback").addEventListener("click", ACTIONS.b);
element("reset").addEventListener("click", ACTIONS.r);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  ACTIONS[event.key.toLowerCase()]?.();
});

connect();
watchFrames();
refresh();
