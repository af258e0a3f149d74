// What a person should know, most urgent first: the sidecar's own findings.

import { byId, keep, make, setClass, setProse, setText, show } from "./dom.js";
import { nameOf } from "./words.js";

const SHOWN = 20;

export function drawNeeds(state, opened) {
  const findings = state.findings.filter((one) => one.urgency === "act" || one.urgency === "look");
  keep(
    byId("needs"),
    findings.slice(0, SHOWN),
    (one) => [one.cause, ...one.lambdas, ...one.partitions.slice(0, 1).map(nameOf)].join("/"),
    (one) => itemOf(one, opened),
    (item, one) => item.redraw(one),
  );
  const more = findings.length - SHOWN;
  show(byId("needs-none"), findings.length === 0 || more > 0);
  setText(byId("needs-none"), more > 0 ? `Of ${findings.length} findings, the most urgent ${SHOWN}.` : "Nothing: all is well.");
}

function itemOf(first, opened) {
  const where = make("strong");
  const text = make("span");
  const button = make("button", { type: "button", class: "link" });
  const item = make("li", {}, where, " ", text, " ", button);
  let latest = first;
  button.addEventListener("click", () => {
    const [place] = latest.partitions;
    opened(latest.lambdas[0], nameOf(place));
  });
  item.redraw = (one) => {
    latest = one;
    setClass(item, `u-${one.urgency}`);
    setText(where, one.lambdas.join(", "));
    setProse(text, one.text);
    const [place] = one.partitions;
    show(button, place !== undefined);
    if (place !== undefined) setText(button, `Open ${nameOf(place)}`);
  };
  return item;
}
