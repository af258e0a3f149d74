// Dead letters: what failed, by cause; one of them; and their replay. They are read when somebody asks, since that
// costs Kafka work, and only with the token, since records may be private.

import { order, read, unlocked } from "./api.js";
import { confirmed } from "./confirm.js";
import { byId, keep, make, setText, show } from "./dom.js";
import { openDrawer } from "./drawer.js";
import { count, many, moment } from "./words.js";

let groups = null;
let writtenThen = 0;
let written = 0;
let replayState = "";

export function beginLetters() {
  byId("letters-read").addEventListener("click", readGroups);
}

export function drawLetters(state) {
  const section = byId("letters");
  written = state.lambdas.reduce((sum, one) => sum + (one.dead_letters ?? 0), 0);
  show(section, true);
  const open = state.actions.possible && unlocked();
  show(byId("letters-read"), open);
  show(byId("letters-groups"), open);
  setText(byId("letters-note"), noteOf(state, open));
  drawReplay(state.replay, open);
}

function noteOf(state, open) {
  const since = `${many(written, "dead letter", "dead letters")} written since the sidecar started.`;
  if (!state.actions.possible) return `${since} To see and replay them here: ${state.actions.how}.`;
  if (!open) return `${since} Allow actions, with the operators' token, to see and replay them.`;
  if (groups === null || written === writtenThen) return since;
  return `${since} ${many(written - writtenThen, "is", "are")} newer than what is shown: read again.`;
}

async function readGroups() {
  const error = byId("letters-error");
  const button = byId("letters-read");
  setText(error, "");
  button.disabled = true;
  setText(button, "Reading …");
  try {
    const then = written;
    groups = (await read("/api/dead-letters")).groups;
    writtenThen = then;
    drawGroups();
  } catch (refused) {
    setText(error, refused.message);
  } finally {
    button.disabled = false;
    setText(button, "Read again");
  }
}

function drawGroups() {
  const rows = groups.map((one) => {
    const error = one.type ? `${one.type}: ${one.message.split("\n")[0]}` : one.message;
    const buttons = [make("button", { type: "button", onclick: () => showLetter(one) }, "Show")];
    if (one.open > 0) buttons.push(make("button", { type: "button", onclick: () => replay(one) }, "Replay …"));
    for (const button of buttons) button.setAttribute("aria-label", `${button.textContent.replace(" …", "")} ${error}`);
    return make(
      "tr",
      {},
      make("th", { scope: "row" }, error, make("br"), make("span", { class: "quiet" }, `${one.topic}, ${one.fingerprint}`)),
      make("td", { class: "number" }, `${count(one.open)} of ${count(one.letters)}`),
      make("td", { class: "wide" }, moment(Date.parse(one.last))),
      make("td", { class: "buttons" }, ...buttons),
    );
  });
  const head = [
    ["Cause", ""],
    ["Open", "number"],
    ["Last failure", "wide"],
    ["Actions", ""],
  ].map(([text, style]) => make("th", { scope: "col", class: style }, text));
  const caption = make("caption", { class: "unseen" }, "Dead letters by cause");
  const table = make("table", {}, caption, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
  byId("letters-groups").replaceChildren(rows.length > 0 ? table : make("p", {}, "There are none."));
}

async function showLetter(group) {
  const error = byId("letters-error");
  setText(error, "");
  try {
    const asked = new URLSearchParams({ topic: group.topic, which: group.fingerprint });
    const one = await read(`/api/dead-letters/letter?${asked}`);
    openDrawer(`Dead letter ${one.letter}`, letterBody(one));
  } catch (refused) {
    setText(error, refused.message);
  }
}

function letterBody(one) {
  const failure = one.failure;
  const facts = [
    ["Source", failure.source],
    ["Lambda", `${failure.lambda}${failure.version ? `, version ${failure.version}` : ""}`],
    ["Error", failure.type || failure.code],
    ["Attempts", count(failure.attempts)],
    ["Last failure", failure.last],
    ["State", one.replayed ? "replayed" : "open"],
  ].map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)));
  const text = (value) => {
    if (value === null) return "null";
    return typeof value === "string" ? value : `base64: ${value.base64}`;
  };
  const block = (name, value) => [
    make("h3", {}, name),
    make("pre", { tabindex: "0", role: "region", "aria-label": name }, text(value)),
  ];
  return make(
    "div",
    {},
    make("dl", { class: "facts" }, ...facts),
    ...block("Message", failure.message),
    ...block("Key", one.key),
    ...block("Value", one.value),
    ...one.headers.flatMap(([name, value]) => block(`Header ${name}`, value)),
    ...(one.stack ? block("Stack", one.stack) : []),
  );
}

async function replay(group) {
  await confirmed({
    title: `Replay ${many(group.open, "dead letter", "dead letters")}?`,
    text:
      `Each open record of this cause is written back to ${group.sources.join(", ")} once. All groups that consume ` +
      "that topic get it again, not only the lambda that failed. Mend the cause first.",
    yes: "Replay",
    act: async () => {
      await order("/api/dead-letters/replay", { topic: group.topic, which: group.fingerprint });
      return true;
    },
  });
}

function drawReplay(one, open) {
  const place = byId("replay");
  if (one !== undefined && one.state !== "running" && replayState === "running" && open) readGroups();
  replayState = one?.state ?? "";
  keep(
    place,
    one === undefined ? [] : [one],
    (each) => String(each.began_ms),
    () => replayBox(),
    (box, each) => box.redraw(each, open),
  );
}

function replayBox() {
  const text = make("p", { role: "status" });
  const bar = make("progress", { "aria-label": "Replay" });
  const stop = make("button", { type: "button" }, "Stop the replay");
  stop.addEventListener("click", async () => {
    stop.disabled = true;
    try {
      await order("/api/dead-letters/stop", {});
    } catch (refused) {
      setText(byId("letters-error"), refused.message);
    }
  });
  const box = make("div", { class: "notice" }, text, bar, stop);
  box.redraw = (one, open) => {
    const running = one.state === "running";
    show(bar, running);
    show(stop, running && open);
    bar.max = Math.max(1, one.total);
    bar.value = one.replayed;
    const how = { running: "Replaying", finished: "Replayed", stopped: "Stopped; replayed", failed: "Failed; replayed" };
    const why = one.text ? ` ${one.text}` : "";
    setText(text, `${how[one.state]} ${count(one.replayed)} of ${count(one.total)} (${one.which} in ${one.topic}).${why}`);
  };
  return box;
}
