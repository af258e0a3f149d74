// The table of one lambda's partitions. Only some rows are in the document: thousands would make the page slow.

import { keep, make, setClass, setText, show } from "./dom.js";
import { ago, count, lag, many, nameOf, noteOf, rate, signOf, sinceOf, stateOf, urgencyOf } from "./words.js";

const FIRST = 25;
const MORE = 100;

const COLUMNS = [
  ["Partition", ""],
  ["State", ""],
  ["Lag", "number"],
  ["Done/s", "number wide"],
  ["Unfinished", "number wide"],
  ["Process", "wide"],
  ["Note", "note"],
];

export function badge() {
  const sign = make("span", { "aria-hidden": "true" });
  const word = make("span");
  const node = make("span", {}, sign, " ", word);
  node.redraw = (one) => {
    const state = stateOf(one);
    setClass(node, `state s-${state.replace(" ", "-")}`);
    setText(sign, signOf(state));
    setText(word, state);
  };
  return node;
}

// `opened(lambda, name)` is called when somebody opens a row.
export function partitionTable(lambda, opened) {
  let shown = FIRST;
  const head = COLUMNS.map(([text, style]) => make("th", { scope: "col", class: style }, text));
  const body = make("tbody");
  const caption = make("caption", { class: "unseen" }, `Partitions of ${lambda}`);
  const table = make("table", { class: "partitions" }, caption, make("thead", {}, make("tr", {}, ...head)), body);
  const more = make("button", { type: "button", onclick: () => ((shown += MORE), node.again()) });
  const node = make("div", {}, table, more);
  node.redraw = (partitions, processes, now) => {
    node.again = () => node.redraw(partitions, processes, now);
    const sorted = partitions.toSorted(
      (a, b) =>
        urgencyOf(a) - urgencyOf(b) ||
        a.topic.localeCompare(b.topic) ||
        (a.partition ?? 0) - (b.partition ?? 0) ||
        (a.lane ?? 0) - (b.lane ?? 0),
    );
    show(table, sorted.length > 0);
    const fill = (row, one) => row.redraw(one, processes, now);
    keep(body, sorted.slice(0, shown), nameOf, (one) => rowOf(lambda, one, opened), fill);
    show(more, sorted.length > shown);
    const left = sorted.length - shown;
    const what = sorted[0]?.lanes > 1 ? ["further lane", "further lanes"] : ["further partition", "further partitions"];
    if (left > 0) setText(more, `Show ${Math.min(MORE, left)} of ${many(left, ...what)}`);
  };
  return node;
}

function rowOf(lambda, first, opened) {
  const state = badge();
  const since = make("span", { class: "quiet since" });
  const open = make(
    "button",
    { type: "button", class: "link", onclick: () => opened(lambda, nameOf(first)) },
    nameOf(first),
  );
  const cells = COLUMNS.slice(2).map(([, style]) => make("td", { class: style }));
  const row = make("tr", {}, make("th", { scope: "row" }, open), make("td", {}, state, " ", since), ...cells);
  row.redraw = (one, processes, now) => {
    state.redraw(one);
    setText(since, sinceOf(one) ? ago(now - sinceOf(one)) : "");
    const behind = lag(one);
    const texts = [
      behind === null ? "-" : count(behind),
      rate(one.done_per_second),
      count(one.outstanding ?? 0),
      processes.get(one.process_id) ?? one.process_id ?? "-",
      noteOf(one, now),
    ];
    cells.forEach((cell, index) => setText(cell, texts[index]));
  };
  return row;
}
