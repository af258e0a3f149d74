// A section for each lambda: what it is, its last minutes, its processes and its partitions.

import { chart, historyTable } from "./chart.js";
import { byId, keep, make, setText, show } from "./dom.js";
import { partitionTable } from "./rows.js";
import { ago, count, lagOf, many, nameOf, noteOf, pieces, rate, stateOf, urgencyOf } from "./words.js";

export function drawLambdas(state, opened) {
  const filter = filterOf(state.now);
  let matching = 0;
  let all = 0;
  const sections = state.lambdas.map((one) => {
    const partitions = one.partitions ?? [];
    const processes = processNames(one);
    const chosen = partitions.filter((each) => filter(each, processes));
    all += partitions.length;
    matching += chosen.length;
    return { one, chosen, processes, history: state.history };
  });
  keep(
    byId("lambdas"),
    sections,
    ({ one }) => one.name,
    ({ one }) => sectionOf(one, opened),
    (section, { one, chosen, processes, history }) => section.redraw(one, chosen, processes, history, state.now),
  );
  const text = matching === all ? allOf(state.lambdas) : `${count(matching)} of ${count(all)} match`;
  setText(byId("matches"), text);
}

// `4 partitions`, `32 lanes`, or both where only some lambdas have lanes.
function allOf(lambdas) {
  const total = (some) => some.reduce((sum, one) => sum + (one.partitions?.length ?? 0), 0);
  const lanes = total(lambdas.filter((one) => one.lanes > 1));
  const partitions = total(lambdas) - lanes;
  const texts = [partitions > 0 || lanes === 0 ? pieces(partitions, 1) : "", lanes > 0 ? pieces(lanes, 2) : ""];
  return texts.filter(Boolean).join(" and ");
}

export const processNames = (one) =>
  new Map((one.processes ?? []).map((each) => [each.process_id, each.instance || each.process_id]));

function filterOf(now) {
  const words = byId("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = byId("state").value;
  return (one, processes) => {
    if (wanted === "person" ? urgencyOf(one) > 0 : wanted && stateOf(one) !== wanted) return false;
    const text = [nameOf(one), stateOf(one), processes.get(one.process_id) ?? "", noteOf(one, now)].join(" ");
    return words.every((word) => text.toLowerCase().includes(word));
  };
}

function sectionOf(first, opened) {
  const id = `lambda-${first.name}`;
  const what = make("p", { class: "quiet" });
  const problems = make("ul", { class: "problems" });
  const counters = make("p", { class: "counters" });
  const behind = chart(`${id}-lag`, "Lag", [{ column: "lag", label: "records", style: "area" }], count);
  const lines = [
    { column: "sent", label: "sent", style: "line" },
    { column: "done", label: "done", style: "dashed" },
  ];
  const speed = chart(`${id}-rate`, "Records a second", lines, rate);
  const charts = make("div", { class: "charts" }, behind, speed);
  const numbers = historyTable();
  const processes = make("ul", { class: "processes" });
  const table = partitionTable(first.name, opened);
  const section = make(
    "section",
    { class: "lambda", "aria-labelledby": id },
    make("h2", { id }, first.name),
    what,
    problems,
    charts,
    numbers,
    counters,
    processes,
    table,
  );
  section.redraw = (one, chosen, names, history, now) => {
    const joined = one.joined ? "in the group" : "not in the group";
    const connected = one.connected ? joined : "not connected to Kafka";
    setText(what, `${(one.topics ?? []).join(", ")} in group ${one.group}; ${connected}`);
    const told = (item) => `${item.text} (for ${ago(now - item.since_ms)})`;
    keep(problems, one.problems ?? [], (item) => item.kind, () => make("li"), (li, item) => setText(li, told(item)));
    const rows = history?.lambdas[one.name] ?? [];
    show(charts, rows.length > 0);
    if (rows.length > 0 && section.drawn !== rows) {
      section.drawn = rows;
      for (const figure of [behind, speed]) figure.redraw(history, rows);
      numbers.redraw(rows);
    }
    setText(counters, countersOf(one));
    drawProcesses(processes, one);
    table.redraw(chosen, names, now);
  };
  return section;
}

function countersOf(one) {
  const partitions = one.partitions ?? [];
  const texts = [pieces(partitions.length, one.lanes), `lag ${count(lagOf(partitions))}`];
  const states = Map.groupBy(partitions, stateOf);
  for (const [state, some] of states) texts.push(`${count(some.length)} ${state}`);
  for (const [name, singular, plural] of [
    ["dead_letters", "dead letter", "dead letters"],
    ["restarts", "restart", "restarts"],
    ["reports", "reported error", "reported errors"],
    ["skipped_records", "skipped record", "skipped records"],
  ]) {
    if (one[name]) texts.push(many(one[name], singular, plural));
  }
  return texts.join(" · ");
}

function drawProcesses(list, one) {
  const processes = one.processes ?? [];
  const shown = processes.length > 0 ? processes : [{ process_id: "", none: true }];
  const text = (each) => {
    if (each.none) return "No lambda process is connected.";
    const version = each.lambda_version ? `, version ${each.lambda_version}` : "";
    const held = pieces(each.partitions ?? 0, one.lanes);
    const pid = each.pid ? `, pid ${each.pid}` : "";
    return `${each.instance || each.process_id}${pid}: ${held} (${each.client || "unknown client"}${version})`;
  };
  keep(list, shown, (each) => each.process_id, () => make("li"), (li, each) => setText(li, text(each)));
}
