// The service's HTTP: JSON in and out. Whatever goes wrong is an Error of one sentence.

const PATIENCE_MS = 5000;

export class Refusal extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status; // 0: no answer, or none that can be read
  }
}

// Ask and return the answer; JSON is parsed. `json` is sent as JSON, `sdp` as it is.
export async function ask(path, { method = "GET", json, sdp, patienceMs = PATIENCE_MS } = {}) {
  const options = { method, signal: AbortSignal.timeout(patienceMs), cache: "no-store" };
  if (json !== undefined) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(json);
  } else if (sdp !== undefined) {
    options.headers = { "Content-Type": "application/sdp" };
    options.body = sdp;
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Refusal("The service does not answer.", 0);
  }
  if (!response.ok) throw new Refusal(await sentence(response), response.status);
  return response;
}

export async function askJson(path, options) {
  return read(await ask(path, options), "json");
}

// The body of an answer, as "json" or "text". It may be cut off, or be the page of a proxy.
export async function read(response, as) {
  try {
    return await response[as]();
  } catch {
    throw new Refusal("The service's answer cannot be read.", 0);
  }
}

async function sentence(response) {
  try {
    const { detail } = await response.json();
    if (typeof detail === "string" && detail) return asSentence(detail);
  } catch {
    // not ours, a proxy's perhaps: its status says enough
  }
  return `The service answered with status ${response.status}.`;
}

function asSentence(text) {
  const scheme = /^\w+:/.test(text); // "phantom:// knows ..." stays as it is
  const capital = scheme ? text : text[0].toUpperCase() + text.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}

// Ask again and again, `everyMs` after each answer; onAnswer or onRefusal hears of each. Returns stop().
export function poll(path, everyMs, onAnswer, onRefusal) {
  let timer = null;
  let stopped = false;
  const once = async () => {
    try {
      const answer = await askJson(path, { patienceMs: 2000 });
      if (!stopped) onAnswer(answer);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (!stopped) onRefusal(error);
    } finally {
      if (!stopped) timer = setTimeout(once, everyMs);
    }
  };
  once();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
