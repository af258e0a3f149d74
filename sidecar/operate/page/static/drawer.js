// The drawer at the side: one partition with its explanation, its numbers and what can be done; or one dead letter.

import { unlocked } from "./api.js";
import { askForToken } from "./confirm.js";
import { byId, keep, make, setClass, setProse, setText, show } from "./dom.js";
import { processNames } from "./lambdas.js";
import { ordersFor } from "./orders.js";
import { badge } from "./rows.js";
import { ago, bytes, count, lag, many, moment, nameOf, rate, sinceOf } from "./words.js";

let redrawn = null;

export function closeDrawer() {
  byId("drawer").close();
}

export function openDrawer(title, body, redraw = null) {
  setText(byId("drawer-title"), title);
  byId("drawer-body").replaceChildren(body);
  redrawn = redraw;
  const drawer = byId("drawer");
  if (!drawer.open) drawer.showModal();
}

export function redrawDrawer(state) {
  if (byId("drawer").open && redrawn !== null) redrawn(state);
}

// `name` is the name of the partition or lane, as `nameOf` gives it.
export function openPartition(state, lambda, name) {
  const body = partitionBody(lambda);
  const redraw = (now) => body.redraw(now, lambda, name);
  redraw(state);
  openDrawer(`${name} of ${lambda}`, body, redraw);
}

function partitionBody() {
  const state = badge();
  const explained = make("ul", { class: "needs" });
  const facts = make("dl", { class: "facts" });
  const buttons = make("div", { class: "buttons" });
  const locked = make("p", { class: "quiet" });
  const outcome = make("p", { class: "outcome", role: "status" });
  const command = make("code");
  const gone = make("p", { class: "error" });
  const body = make(
    "div",
    {},
    gone,
    make("p", {}, state),
    explained,
    make("h3", {}, "Actions"),
    buttons,
    locked,
    outcome,
    make("p", { class: "quiet" }, "From a terminal: ", command),
    make("h3", {}, "Numbers"),
    facts,
  );
  body.redraw = (all, lambda, name) => {
    const owner = all.lambdas.find((each) => each.name === lambda);
    const one = owner?.partitions?.find((each) => nameOf(each) === name);
    show(gone, one === undefined);
    setText(gone, "This sidecar does not own the partition now.");
    if (one === undefined) return;
    state.redraw(one);
    const about = all.findings.filter((each) => isAbout(each, lambda, name));
    const redrawItem = (li, each) => {
      setClass(li, `u-${each.urgency}`);
      setProse(li, each.text);
    };
    keep(explained, about, (each) => each.cause, () => make("li"), redrawItem);
    drawActions(buttons, locked, outcome, all, lambda, one);
    setText(command, `kafka-sidecar explain ${lambda}/${nameOf(one)}`);
    drawFacts(facts, factsOf(owner, one, all.now));
  };
  return body;
}

// Whether a finding concerns the partition, or all of its lambda, or the whole sidecar.
function isAbout(finding, lambda, name) {
  if (finding.lambdas.length > 0 && !finding.lambdas.includes(lambda)) return false;
  if (finding.partitions.length === 0) return true;
  return finding.partitions.some((one) => nameOf(one) === name);
}

function drawActions(buttons, locked, outcome, all, lambda, one) {
  const possible = all.actions.possible && unlocked();
  const orders = possible ? ordersFor(lambda, one) : [];
  const allow = { label: "Allow actions", run: async () => ((await askForToken()) ? "You may act now." : null) };
  if (all.actions.possible && !possible) orders.push(allow);
  keep(
    buttons,
    orders,
    (each) => each.label,
    (each) => {
      const button = make("button", { type: "button" }, each.label === "Allow actions" ? each.label : `${each.label} …`);
      button.addEventListener("click", async () => {
        const said = await button.order.run();
        if (said !== null) setText(outcome, said);
        document.dispatchEvent(new Event("redraw"));
      });
      return button;
    },
    (button, each) => (button.order = each),
  );
  show(locked, !possible);
  setText(locked, all.actions.possible ? "Actions need the operators' token." : (all.actions.how ?? ""));
}

function factsOf(owner, one, now) {
  const offset = (value) => (value === undefined ? "unknown" : count(value));
  const behind = lag(one);
  const facts = [
    ["Process", processNames(owner).get(one.process_id) ?? one.process_id ?? "none"],
    ["In this state since", sinceOf(one) ? moment(sinceOf(one)) : "unknown"],
    ["Lag", behind === null ? "unknown" : many(behind, "record", "records")],
    ["Sent, done", `${rate(one.sent_per_second)}/s, ${rate(one.done_per_second)}/s`],
    ["Last offset sent", offset(one.delivered)],
    ["Last offset handled", offset(one.handled)],
    ["Checkpoint", offset(one.checkpoint)],
    ["Committed", offset(one.committed)],
    ["End of the log", offset(one.end)],
    ["Unfinished", `${many(one.outstanding ?? 0, "record", "records")}, ${bytes(one.outstanding_bytes ?? 0)}`],
    ["Fetched, not sent", `${many(one.waiting ?? 0, "record", "records")}, ${bytes(one.waiting_bytes ?? 0)}`],
  ];
  if (one.reason) facts.unshift(["Reason", one.reason]);
  if (one.oldest_outstanding_ms) facts.push(["Oldest unfinished", `sent ${ago(now - one.oldest_outstanding_ms)} ago`]);
  if (one.progress) facts.push(["Progress", one.progress]);
  if (one.overdue_at_ms) facts.push(["Ended without progress", `in ${ago(Math.max(0, one.overdue_at_ms - now))}`]);
  if (one.state_bytes) facts.push(["Its lambda's state", bytes(one.state_bytes)]);
  if (one.attempt > 1) facts.push(["Attempt", count(one.attempt)]);
  const error = one.last_error;
  if (error) facts.push(["Last failure", `${ago(now - error.at_ms)} ago: ${error.text ?? ""}`]);
  if (one.skipping_count) facts.push(["Skips", one.skipping.toReversed().join(", ")]);
  return facts;
}

function drawFacts(list, facts) {
  keep(
    list,
    facts,
    ([name]) => name,
    ([name]) => make("div", {}, make("dt", {}, name), make("dd")),
    (item, [, value]) => setText(item.lastElementChild, value),
  );
}
