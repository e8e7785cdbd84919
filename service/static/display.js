// The display of one session: plays it, says what is true of the picture, and lets the viewer
// choose how masks look.

import { poll } from "./api.js";
import { keepAwake } from "./awake.js";
import { judge, knowsClasses, notes, SOME_MASKS, staleMs } from "./badge.js";
import { Choices, OPACITY_STEP } from "./choices.js";
import { canCompose, Composer } from "./composer.js";
import { Connection } from "./connection.js";
import { describe, listen } from "./keys.js";
import { Legend } from "./legend.js";
import { quantile, Recent } from "./measure.js";
import { Painter } from "./painter.js";
import { Teach } from "./teach.js";

const STATUS_EVERY_MS = 400;
const LOOK_EVERY_MS = 200;
const HELD_SHOWN_MS = 1000; // a single held mask is told for so long: long enough to be read
const PATH = `/api/sessions/${encodeURIComponent(location.pathname.split("/")[2] ?? "main")}`;

const element = (id) => document.getElementById(id);
const video = element("video");
const choices = new Choices();
const frames = new Recent(2000); // milliseconds from receiving to showing, by when it was shown
const masked = new Recent(2000); // 1 for a frame shown with its own mask, else 0
const held = new Recent(HELD_SHOWN_MS);
const state = {
  status: null, statusAt: 0, refusal: "", connection: { state: "connecting", sentence: "" },
  unnamed: false, // has there been an instrument of unknown kind?
  stamp: null, // RTP time of the frame that the video shows
};

const painter = new Painter(element("masks"));
const composer = new Composer({ video, picture: element("picture"), painter, onShown });
const legend = new Legend(element("legend"), (id) => change(() => choices.toggleClass(id)));
const connection = new Connection({
  path: PATH,
  video,
  onMask: (buffer) => composer.addMask(buffer),
  onState: (now, sentence) => {
    if (now === "connected") {
      composer.clear();
      state.stamp = null;
    }
    state.connection = { state: now, sentence };
    look();
  },
});

const teach = new Teach({
  path: PATH,
  elements: {
    stage: element("stage"), video, state: document.querySelector(".state"), names: element("names"),
    spot: element("spot"), lesson: element("lesson"), said: element("said"), undo: element("undo"),
  },
  seen: seenFrame,
  onChange: () => {
    press("teach", teach.on);
    look();
  },
});

// The frame that is on the screen now, and the connection that brought it.
function seenFrame() {
  const frame = choices.composed ? composer.drawn : state.stamp;
  const viewer = connection.viewer;
  return frame === null || viewer === null ? null : { frame, viewer };
}

function onShown({ mask, waitedMs, receivedAt }) {
  if (mask === "joined") {
    if (masked.samples.length) masked.samples.at(-1)[1] = 1;
    return;
  }
  masked.add(mask === "own" ? 1 : 0);
  if (mask === "held") held.add(1);
  frames.add(receivedAt === undefined ? waitedMs : performance.now() - receivedAt);
}

function watchFrames() {
  if (!("requestVideoFrameCallback" in video)) return;
  video.requestVideoFrameCallback((_, metadata) => {
    watchFrames();
    state.stamp = metadata.rtpTimestamp ?? null;
    if (choices.composed) composer.addFrame(metadata);
    else frames.add(metadata.receiveTime ? metadata.expectedDisplayTime - metadata.receiveTime : 0);
  });
}

function change(choose) {
  const [view, rendition] = [choices.view, choices.rendition];
  choose();
  choices.keep();
  apply();
  if (choices.view !== view) {
    frames.clear();
    composer.clear();
    element("picture").width = 1; // what it held is old
  }
  if (choices.rendition !== rendition) connection.show(choices.rendition);
  look();
}

function apply() {
  painter.style = choices.style;
  painter.opacity = choices.opacity;
  painter.hidden = choices.hidden;
  composer.masksWanted = choices.overlay;
  composer.hold = choices.hold;
  element("picture").hidden = element("masks").hidden = !choices.composed;
  press("overlay", choices.overlay);
  press("hold", choices.hold);
  press("burnt", !choices.composed);
  press("composed", choices.composed);
  press("fill", choices.style === "fill");
  press("contour", choices.style === "contour");
  element("opacity").value = choices.opacity * 100;
  for (const id of ["hold", "fill", "contour", "opacity"]) element(id).disabled = !choices.composed;
  element("with-masks").hidden = !choices.composed;
}

function press(id, pressed) {
  element(id).setAttribute("aria-pressed", String(pressed));
}

// Classes that are left out: where masks are burnt in, none can be.
function hidden() {
  return choices.composed ? choices.hidden : new Set();
}

// How masks fare in the composed view; burnt-in ones are the service's to tell of.
function maskState() {
  if (!choices.composed || !choices.overlay) return "fine";
  const share = maskShare();
  if (choices.hold && held.values().length > 0) return "held";
  return share !== null && share < SOME_MASKS && frames.rate() > 0 ? "missing" : "fine";
}

function maskShare() {
  const shown = masked.values();
  const enough = Math.min(10, Math.ceil(state.status?.source_fps ?? 10)); // a second of a slow source
  return shown.length < enough ? null : shown.reduce((sum, one) => sum + one, 0) / shown.length;
}

// Look at everything and say what is true.
function look() {
  const { status, refusal } = state;
  const silentMs = frames.silentMs();
  const statusMs = performance.now() - state.statusAt;
  const verdict = judge({
    status, statusMs, refusal, connection: state.connection, silentMs, masks: maskState(),
  });
  const badge = element("badge");
  write(badge, verdict.text);
  badge.dataset.kind = verdict.kind;
  write(element("sentence"), verdict.sentence);
  element("legend").classList.toggle("unknown", !knowsClasses(verdict.text));
  const said = notes({
    status,
    behind: state.connection.state === "behind",
    view: choices.view,
    overlay: choices.overlay,
    hidden: hidden().size,
    share: maskShare(),
    text: verdict.text,
    teaching: teach.on,
  });
  write(element("notes"), said.join(" · "));
  tellAge(silentMs);
}

function write(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

// An old picture must never pass for a new one: it fades, and its age is written across it.
function tellAge(silentMs) {
  const old = silentMs !== null && silentMs > staleMs(state.status) && document.visibilityState === "visible";
  element("stage").classList.toggle("old", old);
  element("age").hidden = !old;
  if (old) write(element("age"), `Picture of ${Math.floor(silentMs / 1000)} s ago`);
}

function show(status) {
  if (state.refusal) connection.hurry();
  Object.assign(state, { status, statusAt: performance.now(), refusal: "" });
  painter.classes = [...status.classes, status.unnamed];
  teach.classes = status.classes;
  legend.show(namedOnce(status), hidden(), choices.composed && choices.overlay);
  write(element("scene"), `${status.source} · profile ${status.profile}`);
  write(element("fps"), frames.last === null ? "–" : frames.rate().toFixed(0));
  const toShow = quantile(frames.values(), 0.5);
  // Two clocks, so the way between them is not in it: it is measured by the loopback benchmark.
  const latency = toShow === null ? null : sent(status).p50 + toShow;
  write(element("latency"), latency === null ? "–" : latency.toFixed(0));
  const share = maskShare();
  write(element("share"), share === null ? "–" : (share * 100).toFixed(0));
  look();
}

// An instrument of none of them has its place in the legend once there has been one.
function namedOnce({ classes, unnamed }) {
  state.unnamed ||= unnamed.area > 0;
  return state.unnamed ? [...classes, { ...unnamed, present: unnamed.area > 0 }] : classes;
}

// From capture to sending, of the rendition that we watch.
function sent(status) {
  return choices.rendition === "plain" ? status.plain_capture_to_send_ms : status.capture_to_send_ms;
}

function fullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else document.documentElement.requestFullscreen().catch(() => {}); // refused: nothing is lost
}

function help() {
  const dialog = element("help");
  if (dialog.open) dialog.close();
  else dialog.showModal();
}

const setView = (view) => change(() => { if (canCompose()) choices.view = view; });
const composedOnly = (choose) => () => { if (choices.composed) change(choose); };
const toggleHold = composedOnly(() => { choices.hold = !choices.hold; });
const toggleOverlay = () => change(() => { choices.overlay = !choices.overlay; });
const setStyle = (style) => composedOnly(() => { choices.style = style; });

function toggleClassOf(key) {
  const one = legend.classes[Number(key) - 1];
  if (one && choices.composed) change(() => choices.toggleClass(one.id));
}

// Digits choose a name while one is asked for.
const digit = (key) => (teach.choosing ? teach.choose(key) : toggleClassOf(key));

const COMPOSED = "(composed view)";
const toggleView = () => setView(choices.composed ? "burnt" : "composed");
const toggleStyle = () => setStyle(choices.style === "fill" ? "contour" : "fill")();
const dim = (by) => composedOnly(() => choices.dim(by));
const bare = () => document.body.classList.toggle("bare");

const ACTIONS = [
  { keys: ["o"], label: "O", text: "Overlay on or off", run: toggleOverlay },
  { keys: ["v"], label: "V", text: "Masks burnt in by the service, or composed here", run: toggleView },
  { keys: ["c"], label: "C", text: `Contour or fill ${COMPOSED}`, run: toggleStyle },
  { keys: ["-"], label: "−", text: `Fainter masks ${COMPOSED}`, run: dim(-OPACITY_STEP) },
  { keys: ["+", "="], label: "+", text: `Stronger masks ${COMPOSED}`, run: dim(OPACITY_STEP) },
  { keys: ["k"], label: "K", text: `Keep masks for up to 0.2 s ${COMPOSED}`, run: toggleHold },
  { keys: [..."123456789"], label: "1 – 9", text: `Show or hide a class ${COMPOSED}`, run: digit },
  { keys: ["t"], label: "T", text: "Teach: press on an instrument, then choose its name", run: () => teach.toggle() },
  { keys: ["0"], label: "0", text: "No instrument is there (teaching)", run: digit },
  { keys: ["u"], label: "U", text: "Undo the lesson just given", run: () => teach.undo() },
  { keys: ["escape"], label: "Esc", text: "Close the names, or end teaching", run: () => teach.back() },
  { keys: ["h"], label: "H", text: "Hide everything but picture and badge", run: bare },
  { keys: ["f"], label: "F", text: "Full screen", run: fullScreen },
  { keys: ["?"], label: "?", text: "This help", run: help, always: true },
];

element("overlay").addEventListener("click", toggleOverlay);
element("hold").addEventListener("click", toggleHold);
element("teach").addEventListener("click", () => teach.toggle());
element("burnt").addEventListener("click", () => setView("burnt"));
element("composed").addEventListener("click", () => setView("composed"));
element("fill").addEventListener("click", setStyle("fill"));
element("contour").addEventListener("click", setStyle("contour"));
element("opacity").addEventListener("input", (event) => {
  change(() => { choices.opacity = Number(event.target.value) / 100; });
});
element("full").addEventListener("click", fullScreen);
element("help-button").addEventListener("click", help);
if (!canCompose()) {
  element("composed").disabled = true;
  element("composed").title = "This browser cannot match masks to frames exactly.";
}
window.addEventListener("pagehide", () => connection.close());
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

listen(ACTIONS);
describe(element("keys"), ACTIONS);
apply();
keepAwake();
watchFrames();
connection.show(choices.rendition);
poll(PATH, STATUS_EVERY_MS, show, (error) => {
  state.refusal = error.message;
  for (const id of ["fps", "latency", "share"]) write(element(id), "–"); // not of now
  look();
});
setInterval(look, LOOK_EVERY_MS);
