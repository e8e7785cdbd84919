// The control page: which sessions run, opening and closing them.

import { ask, askJson, poll } from "./api.js";
import { Card } from "./card.js";

const LIST_EVERY_MS = 2000;
const OPENING_MS = 60_000; // a model may have to be loaded first

const element = (id) => document.getElementById(id);
const cards = new Map(); // by session id

function show({ sessions }) {
  tell("trouble", "");
  const running = new Set(sessions.map(({ id }) => id));
  for (const [id, card] of cards) {
    if (running.has(id)) continue;
    card.remove();
    cards.delete(id);
  }
  for (const session of sessions) {
    if (cards.has(session.id)) continue;
    const card = new Card(session, confirmClosing);
    cards.set(session.id, card);
    element("sessions").append(card.root);
  }
  element("none").hidden = sessions.length > 0;
}

function tell(id, sentence) {
  if (element(id).textContent !== sentence) element(id).textContent = sentence;
}

async function open(event) {
  event.preventDefault();
  const form = event.target;
  const { source, profile, name } = Object.fromEntries(new FormData(form));
  const json = { source: source.trim(), profile: profile || null, ...(name && { name }) };
  const button = form.querySelector("button");
  button.disabled = true;
  button.textContent = "Opening…";
  tell("new-trouble", "");
  try {
    await ask("/api/sessions", { method: "POST", json, patienceMs: OPENING_MS });
    form.reset();
    show(await askJson("/api/sessions"));
  } catch (error) {
    tell("new-trouble", error.message);
  }
  button.disabled = false;
  button.textContent = "Open";
}

function confirmClosing(card) {
  const dialog = element("confirm");
  const name = card.session.name || card.session.id;
  element("confirm-text").textContent =
    `“${name}” ends for everybody who watches it, and what its learner learnt is lost.`;
  dialog.returnValue = "keep";
  dialog.onclose = () => { if (dialog.returnValue === "close") close(card); };
  dialog.showModal();
}

async function close(card) {
  try {
    await ask(card.path, { method: "DELETE", patienceMs: OPENING_MS });
    show(await askJson("/api/sessions"));
  } catch (error) {
    card.trouble(error.message);
  }
}

async function fillProfiles() {
  try {
    const { profiles } = await askJson("/api/profiles");
    const select = document.querySelector("select[name=profile]");
    select.append(...profiles.map((name) => new Option(name, name)));
  } catch (error) {
    tell("new-trouble", error.message);
  }
}

element("new").addEventListener("submit", open);
fillProfiles();
poll("/api/sessions", LIST_EVERY_MS, show, (error) => tell("trouble", error.message));
