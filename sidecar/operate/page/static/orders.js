// The actions on one partition. Each says what it does before it is done.

import { order } from "./api.js";
import { confirmed, field } from "./confirm.js";
import { make, show } from "./dom.js";
import { count, laneOf, many, nameOf, stateOf } from "./words.js";

function target(lambda, one) {
  const whole = { lambda_name: lambda, topic: one.topic, partition: one.partition ?? 0 };
  const lane = laneOf(one);
  return lane === undefined ? whole : { ...whole, lane };
}

// The actions that make sense in the partition's state: [{label, run}]. `run` resolves to a sentence, or null.
export function ordersFor(lambda, one) {
  const state = stateOf(one);
  const still = state === "halted" || state === "paused";
  const orders = [];
  if (still) orders.push({ label: "Resume", run: () => resume(lambda, one) });
  if (state === "halted" && one.failing_offset !== undefined) {
    orders.push({ label: `Leave out offset ${one.failing_offset}`, run: () => skip(lambda, one) });
  }
  if (state !== "halted" && !(state === "paused" && !one.process_id)) {
    orders.push({ label: "Pause", run: () => pause(lambda, one) });
  }
  orders.push({ label: "Move to another offset", run: () => seek(lambda, one) });
  return orders;
}

function pause(lambda, one) {
  const reason = make("input", { type: "text", maxlength: "300", autocomplete: "off" });
  return confirmed({
    title: `Pause ${nameOf(one)} of ${lambda}?`,
    text:
      "Its lambda may finish the records that it works on, and gives the partition back. It stands still until " +
      "somebody resumes it, as long as this sidecar owns it.",
    yes: "Pause",
    fields: { reason: field("Reason, for those who look (may be empty)", reason) },
    act: async () => {
      const said = await order("/api/pause", { ...target(lambda, one), reason: reason.value });
      return `It stands still. It will go on from offset ${count(said.from_offset ?? 0)}.`;
    },
  });
}

function resume(lambda, one) {
  const again =
    one.failing_offset === undefined ? "" : ` Offset ${count(one.failing_offset)}, which failed, is tried again.`;
  return confirmed({
    title: `Resume ${nameOf(one)} of ${lambda}?`,
    text: `It goes on from where it stands.${again}`,
    yes: "Resume",
    act: async () => {
      const said = await order("/api/resume", target(lambda, one));
      return `It goes on from offset ${count(said.from_offset ?? 0)}.`;
    },
  });
}

function skip(lambda, one) {
  const offset = one.failing_offset;
  return confirmed({
    title: `Leave out offset ${count(offset)} of ${nameOf(one)}?`,
    text:
      `The record at offset ${count(offset)} is not processed by ${lambda}, now or later, and is not kept as a dead ` +
      "letter. The records after it are.",
    yes: "Leave it out, and resume",
    act: async () => {
      const said = await order("/api/resume", { ...target(lambda, one), skip: true, failing_offset: offset });
      return `It goes on from offset ${count(said.from_offset ?? 0)}, leaving out offset ${count(offset)}.`;
    },
  });
}

function seek(lambda, one) {
  const where = make(
    "select",
    {},
    ...[
      ["offset", "an offset"],
      ["time", "a time"],
      ["earliest", "the oldest record that Kafka has"],
      ["latest", "after the newest record"],
    ].map(([value, text]) => make("option", { value }, text)),
  );
  const offset = make("input", { type: "number", min: "0", step: "1", value: String(one.committed ?? 0) });
  const time = make("input", { type: "datetime-local", step: "1" });
  const fields = { where: field("To", where), offset: field("Offset", offset), time: field("Time (yours)", time) };
  const choose = () => {
    show(fields.offset, where.value === "offset");
    show(fields.time, where.value === "time");
    offset.required = where.value === "offset";
    time.required = where.value === "time";
  };
  where.addEventListener("change", choose);
  choose();
  return confirmed({
    title: `Move ${nameOf(one)} of ${lambda}?`,
    text:
      "Its lease ends at once, and the new offset is committed. Backwards, records are processed again; forwards, " +
      "records are never processed. A halted or paused partition stays so.",
    yes: "Move",
    fields,
    act: async () => moved(await order("/api/seek", { ...target(lambda, one), ...seekTo(where.value, offset, time) })),
  });
}

function seekTo(where, offset, time) {
  if (where === "offset") return { offset: offset.value };
  if (where === "time") return { timestamp_ms: String(new Date(time.value).getTime()) };
  return { edge: `EDGE_${where.toUpperCase()}` };
}

function moved(said) {
  const [now, before] = [said.from_offset ?? 0, said.was_at ?? 0];
  const records = (number) => many(number, "record is", "records are");
  if (now === before) return `It is at offset ${count(now)}, where it was.`;
  const rest =
    now < before ? `about ${records(before - now)} processed again` : `about ${records(now - before)} left out`;
  return `It is at offset ${count(now)} now. It was at ${count(before)}, so ${rest}.`;
}
