import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { FakeSidecar, type Sent } from "kafka-sidecar-sdk/testing";
import { hosted } from "../src/adapter.js";
import { deli } from "../src/deli.js";
import { Memory, recordings, until, type Json, type Recording, type Row } from "./memory.js";

/** deli says nothing by itself: the recordings do not have it, or have it as a record of rawdeltas. */
const QUIET = {
  clientTimeout: 1e13,
  noOpConsolidationTimeout: 1e8,
  activityTimeout: 1e8,
  disableNoClientMessage: true,
};
const RECORDINGS = recordings();

let running: FakeSidecar | undefined;

async function start(memory: Memory, settings: Row = QUIET): Promise<FakeSidecar> {
  const plugin = hosted((given) => deli(given, memory.stores));
  running = await FakeSidecar.start(plugin, { topic: "rawdeltas", partition: 3, settings: { deli: settings } });
  return running;
}

afterEach(() => running?.stop()); // also after a failure: its timers keep the process

/** The documents' records, one of each in turn. */
function interleaved(recorded: Recording[]): { key: string; value: string }[] {
  const longest = Math.max(...recorded.map(({ rawdeltas }) => rawdeltas.length));
  return Array.from({ length: longest }, (_, index) => recorded.flatMap(({ rawdeltas }) => rawdeltas[index] ?? []))
    .flat()
    .map(({ key, value }) => ({ key, value: JSON.stringify(value) }));
}

function documentsOf(recorded: Recording[]): Memory {
  return new Memory(...recorded.map(({ rawdeltas: [first] }) => first?.value as Json));
}

/** What was written to deltas of a document, in order. */
function sequenced(sent: readonly Sent[], key: string): Json[] {
  return sent
    .filter((one) => one.topic === "deltas" && one.key?.toString() === key)
    .flatMap((one) => JSON.parse(String(one.value)).contents);
}

/** The fields of the recording: all that deli decides, and in our own recordings the hash over everything else. */
function known(operation: Row, recorded: Row): Row {
  return Object.fromEntries(Object.keys(recorded).map((name) => [name, operation[name]]));
}

function raw(documentId: string, type: string, more: Row = {}, clientId: string | null = null): Row {
  const operation = {
    clientSequenceNumber: -1,
    contents: null,
    referenceSequenceNumber: -1,
    traces: [],
    type,
    ...more,
  };
  const content = {
    clientId,
    documentId,
    operation,
    tenantId: "t",
    timestamp: 1_700_000_000_000,
    type: "RawOperation",
  };
  return { contents: [content], documentId, tenantId: "t", type: "boxcar" };
}

function join(documentId: string, clientId: string): { key: string; value: string } {
  const detail = { mode: "write", scopes: ["doc:read", "doc:write"], user: { id: "u" } };
  return {
    key: documentId,
    value: JSON.stringify(raw(documentId, "join", { data: JSON.stringify({ clientId, detail }) })),
  };
}

function op(documentId: string, clientId: string, number: number): { key: string; value: string } {
  const numbers = { clientSequenceNumber: number, referenceSequenceNumber: 1, contents: "x" };
  return { key: documentId, value: JSON.stringify(raw(documentId, "op", numbers, clientId)) };
}

for (const one of RECORDINGS) {
  test(`${one.name}: what the published deli makes of it is what was recorded`, async () => {
    const sidecar = await start(documentsOf([one]));
    const { key } = one.rawdeltas[0] ?? { key: "" };
    await sidecar.feed(...interleaved([one]));
    await until(() => sidecar.sent.length >= one.deltas.length);
    await sidecar.stop();
    const operations = sequenced(sidecar.sent, key).map(({ operation }) => operation);
    assert.equal(operations.length, one.deltas.length);
    one.deltas.forEach((recorded, index) => {
      assert.deepEqual(known(operations[index], recorded), recorded, `operation ${String(index)}`);
    });
    assert.ok(sidecar.sent.every(({ topic, partition }) => topic === "deltas" && partition === 3));
    assert.deepEqual(sidecar.errors, []);
  });
}

test("all documents in one partition, with restarts: some operations come twice, and none differs", async () => {
  const memory = documentsOf(RECORDINGS);
  const sidecar = await start(memory);
  const records = interleaved(RECORDINGS);
  for (const part of [0, 1, 2]) {
    const size = Math.ceil(records.length / 3);
    await sidecar.feed(...records.slice(part * size, (part + 1) * size));
    if (part < 2) await sidecar.restart(); // with whatever deli has not saved yet
  }
  for (const { rawdeltas, deltas } of RECORDINGS) {
    const key = rawdeltas[0]?.key ?? "";
    const last = deltas.at(-1)?.["sequenceNumber"];
    await until(() => sequenced(sidecar.sent, key).at(-1)?.operation.sequenceNumber === last);
    const byNumber = new Map<number, Json>();
    for (const { operation } of sequenced(sidecar.sent, key)) {
      const { traces: _, additionalContent: __, ...same } = operation;
      assert.deepEqual(byNumber.get(operation.sequenceNumber) ?? same, same);
      byNumber.set(operation.sequenceNumber, same);
    }
    assert.equal(byNumber.size, deltas.length);
    for (const recorded of deltas) {
      assert.deepEqual(known(byNumber.get(recorded["sequenceNumber"] as number), recorded), recorded);
    }
  }
  await sidecar.stop();
  assert.ok(memory.isClosed);
});

test("a quiet document holds the checkpoint, and leaves the window to the others", async () => {
  const memory = new Memory({ tenantId: "t", documentId: "quiet" }, { tenantId: "t", documentId: "busy" });
  const sidecar = await start(memory);
  await sidecar.feed(join("quiet", "A"), join("busy", "B"));
  const records = Array.from({ length: 50 }, (_, index) => op("busy", "B", index + 1));
  await sidecar.feed(...records);
  // Not done are the quiet document's only record, and the busy one's last: 50 of 52.
  await until(() => sidecar.completedBeyond.count === 50);
  assert.equal(sidecar.checkpoint, undefined);
  const sizes = [join("busy", "B"), ...records.slice(0, -1)].map(({ key, value }) => key.length + value.length);
  assert.equal(
    sidecar.completedBeyond.bytes,
    sizes.reduce((sum, size) => sum + size, 0),
  );
  // The router's checkpoint is at a document's own last checkpoint: at 0, then at 50, where the busy document's is.
  await sidecar.feed(op("quiet", "A", 1));
  await until(() => sidecar.checkpoint === 0);
  await sidecar.feed(op("quiet", "A", 2));
  await until(() => sidecar.checkpoint === 50 && sidecar.completedBeyond.count === 1); // 52; not 51 and 53
  await sidecar.stop();
});

test("an operation that Kafka refuses: deli is made again, and has saved nothing that was not written", async () => {
  const memory = new Memory({ tenantId: "t", documentId: "d" });
  const sidecar = await start(memory);
  await sidecar.feed(join("d", "A"));
  await until(() => sidecar.sent.length === 1);
  sidecar.produceError = "not enough replicas";
  await sidecar.feed(op("d", "A", 1));
  await sidecar.ended();
  assert.equal(sidecar.errors[0]?.action, "restart");
  sidecar.produceError = undefined;
  await sidecar.restart();
  await sidecar.feed(op("d", "A", 2));
  const numbers = (): number[] => sequenced(sidecar.sent, "d").map(({ operation }) => operation.sequenceNumber);
  await until(() => numbers().at(-1) === 3);
  assert.deepEqual([...new Set(numbers())], [1, 2, 3]);
  await sidecar.stop();
});

test("a corrupt document is reported, and the others continue; what is no boxcar is passed", async () => {
  const memory = new Memory({ tenantId: "t", documentId: "broken" }, { tenantId: "t", documentId: "good" });
  const sidecar = await start(memory);
  const broken = { type: "boxcar", tenantId: "t", documentId: "broken", contents: [{ type: "RawOperation" }] };
  await sidecar.feed(join("broken", "A"), { value: JSON.stringify(broken) }, null, "no JSON", join("good", "A"));
  await until(() => sequenced(sidecar.sent, "good").length === 1);
  await until(() => sidecar.checkpoint === 3); // the good document's only record waits for its next one
  assert.deepEqual(
    sidecar.errors.map(({ action, type }) => [action, type]),
    [["report", "TypeError"]],
  );
  assert.ok(sidecar.running);
  await sidecar.stop();
});
