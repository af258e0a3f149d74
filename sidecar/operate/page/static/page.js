// The page: it listens to the sidecar and draws what it hears.

import { listen, lock, unlocked } from "./api.js";
import { askForToken } from "./confirm.js";
import { byId, setClass, setText, show } from "./dom.js";
import { closeDrawer, openPartition, redrawDrawer } from "./drawer.js";
import { drawLambdas } from "./lambdas.js";
import { beginLetters, drawLetters } from "./letters.js";
import { drawNeeds } from "./needs.js";
import { ago, clock, nameOf, stateOf } from "./words.js";

const STALE_MS = 6000;
const MISSED = 3;

const state = { lambdas: [], findings: [], actions: { possible: false }, now: 0, history: null, replay: undefined };
let heardAt = 0;
let nextMs = 0;
let states = null;

function heard(name, said) {
  if (name === "history") state.history = said;
  else if (name === "silent") {
    live(said.error, "lost");
    return;
  } else {
    heardAt = Date.now();
    nextMs = said.next_ms;
    state.lambdas = said.status.lambdas ?? [];
    Object.assign(state, { findings: said.findings, actions: said.actions, replay: said.replay, now: said.now_ms });
    drawHead(said.status);
    live("live", "good");
    announce();
  }
  draw();
}

function draw() {
  if (heardAt === 0) return;
  const open = (lambda, name) => openPartition(state, lambda, name);
  drawNeeds(state, open);
  drawLambdas(state, open);
  drawLetters(state);
  redrawDrawer(state);
  const button = byId("unlock");
  show(button, state.actions.possible);
  setText(button, unlocked() ? "Forget the token" : "Allow actions");
}

function drawHead(status) {
  const host = status.host ? ` on ${status.host}` : "";
  const up = ago(state.now - status.started_at_ms);
  setText(byId("where"), `${status.version}${host}, up ${up}, Kafka at ${status.bootstrap_servers}`);
}

function live(text, kind) {
  setText(byId("live"), text);
  setClass(byId("live"), `live ${kind}`);
  document.body.classList.toggle("stale", kind === "lost");
}

// Tells a screen reader which partitions began to need a person, and which no longer do.
function announce() {
  const now = new Map();
  for (const one of state.lambdas) {
    for (const each of one.partitions ?? []) now.set(`${nameOf(each)} of ${one.name}`, stateOf(each));
  }
  const bad = (word) => word === "halted" || word === "stalled";
  const changed = [];
  for (const [name, word] of now) {
    const before = states?.get(name);
    if (before !== undefined && before !== word && (bad(before) || bad(word))) changed.push(`${name} is ${word}`);
  }
  states = now;
  if (changed.length > 3) setText(byId("announced"), `${changed.length} partitions or lanes changed their state`);
  else if (changed.length > 0) setText(byId("announced"), changed.join(", "));
}

byId("unlock").addEventListener("click", async () => {
  if (unlocked()) lock();
  else await askForToken();
  draw();
});
byId("drawer-close").addEventListener("click", closeDrawer);
byId("filter").addEventListener("input", draw);
byId("filter").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("redraw", draw);
setInterval(() => {
  if (heardAt > 0 && Date.now() - heardAt > Math.max(STALE_MS, MISSED * nextMs)) live(`no news since ${clock(heardAt)}`, "lost");
}, 1000);
beginLetters();
listen(heard, (text) => live(text, "lost"));
