// The badge: one or two words that are true, and a sentence where something is not as it should be.

const STALE_MS = 1000; // without a new picture for so long, what is on the screen is old
const STALE_PICTURES = 5; // or so many intervals of a slow source
export const SOME_MASKS = 0.1; // share of frames; below, the badge says that masks are missing
const NEARLY_ALL = 0.85;
const STATUS_MS = 2500; // a state older than this is not known any more

export const FAULTS = {
  "AI LATE": ["warn", "Masks come too late for their frames. The picture is live, without masks."],
  "AI OFF": ["bad", "The model is not running. The picture goes on without masks."],
  "SOURCE LOST": ["bad", "No picture comes from the source. Trying to reach it again."],
  "PICTURE STALE": ["bad", "No new picture arrives. What you see is old."],
  "RECORDING ENDED": ["bad", "The recording is over. What you see is its last picture."],
  STARTING: ["warn", "Waiting for the first picture."],
};
const HELD = "Dashed masks are up to 0.2 s old.";
const NO_MASKS = "Masks come too late for their frames, which are shown without them.";
const OTHER = "The picture is as it was before the last choice.";
export const KINDS = { LIVE: "good", DEMO: "demo", RECORDING: "demo" };

// Milliseconds after which what is on the screen is old; as the service judges it.
export function staleMs(status) {
  return Math.max(STALE_MS, status?.source_fps ? (STALE_PICTURES * 1000) / status.source_fps : 0);
}

// Under this badge, is what the model last said of the classes true of what is on the screen?
export function knowsClasses(text) {
  return text in KINDS || text === "HELD";
}

// What is true now, as { text, kind, sentence }; kind: good, demo, warn or bad.
// status: the service's, statusMs: its age, refusal: why there is none; connection: { state, sentence },
// see connection.js;
// silentMs: since the last picture, null before the first; masks: "fine", "held" or "missing".
export function judge({ status, statusMs, refusal, connection, silentMs, masks }) {
  const started = silentMs !== null;
  if (refusal && status === null) return lost(refusal);
  if (status === null) return { text: "CONNECTING", kind: "warn", sentence: "" };
  if (statusMs > STATUS_MS) return lost(refusal || "The service does not answer.");
  if (connection.state === "lost") return lost(connection.sentence);
  const [text] = status.badge.split(", "); // "LIVE, MODEL RATE": the rate is told by a note
  if (FAULTS[text]?.[0] === "bad") return fault(text);
  if (!started || connection.state === "connecting") {
    return { text: "CONNECTING", kind: "warn", sentence: "Waiting for the first picture." };
  }
  if (silentMs > staleMs(status)) return fault("PICTURE STALE");
  if (FAULTS[text]) return fault(text);
  if (connection.state === "behind") {
    return { text: "OTHER VIEW", kind: "warn", sentence: `${connection.sentence} ${OTHER}` };
  }
  if (masks === "missing") return { text: "AI LATE", kind: "warn", sentence: NO_MASKS };
  if (masks === "held") return { text: "HELD", kind: "warn", sentence: HELD };
  return { text, kind: KINDS[text] ?? "bad", sentence: "" };
}

// What limits or colours what the badge says, each in a word or two.
// behind: it is not the view that was chosen; share: of the frames with their masks, in the composed
// view; null where that is no question
export function notes({ status, behind, view, overlay, hidden, share, text, teaching }) {
  const said = [];
  if (teaching) said.push("TEACHING");
  if (status?.demo && text !== "DEMO") said.push("DEMO");
  const recorder = status?.recording?.state; // that one is recorded is nobody's secret
  if (recorder === "recording") said.push("BEING RECORDED");
  if (recorder === "failed") said.push("RECORDER FAILED");
  if (behind) return said;
  if (!overlay) said.push("OVERLAY OFF");
  else if (hidden === 1) said.push("1 CLASS HIDDEN");
  else if (hidden > 1) said.push(`${hidden} CLASSES HIDDEN`);
  const slow = status?.badge.endsWith("MODEL RATE");
  if (slow && overlay && view === "burnt") said.push("MODEL RATE");
  const some = share !== null && share >= SOME_MASKS && share < NEARLY_ALL;
  if (some && overlay && view === "composed" && knowsClasses(text)) said.push(`MASKS ON ${Math.round(share * 10)}0 %`);
  return said;
}

function fault(text) {
  const [kind, sentence] = FAULTS[text];
  return { text, kind, sentence };
}

function lost(sentence) {
  return { text: "CONNECTION LOST", kind: "bad", sentence: `${sentence} Trying again.` };
}
