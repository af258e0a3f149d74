import assert from "node:assert/strict";
import { test } from "node:test";
import { MongoBulkWriteError } from "mongodb";
import { FakeSidecar } from "kafka-sidecar-sdk/testing";
import { isSame, operationsOf, type Operation } from "../src/operations.js";
import { scriptorium } from "../src/plugin.js";
import { settingsOf } from "../src/settings.js";
import { Away, duplicatesIn, Refused, Store, type Operations } from "../src/store.js";

function sequenced(sequenceNumber: number, documentId = "doc"): object {
  const operation = { sequenceNumber, timestamp: 1_700_000_000_000, traces: [{ service: "deli" }], contents: "x" };
  return { type: "SequencedOperation", tenantId: "t", documentId, operation };
}

function boxcar(...contents: object[]): string {
  return JSON.stringify({ type: "boxcar", tenantId: "t", documentId: "doc", contents });
}

/** A store in memory, which fails as a test says. */
class Memory implements Operations {
  readonly inserts: number[][] = [];
  failures: Error[] = [];
  pings: (Error | undefined)[] = [];
  gate: Promise<void> | undefined;

  async insert(operations: readonly Operation[]): Promise<void> {
    await this.gate;
    const failure = this.failures.shift();
    if (failure !== undefined) throw failure;
    this.inserts.push(operations.map(({ number }) => number));
  }

  async ping(): Promise<void> {
    const failure = this.pings.shift();
    if (failure !== undefined) throw failure;
  }
}

const QUICK = { retry_waits: [0.001], health_interval: 0.01 };

async function until(condition: () => boolean): Promise<void> {
  const end = Date.now() + 5000;
  while (!condition()) {
    assert.ok(Date.now() < end, `did not happen: ${condition.toString()}`);
    await new Promise(setImmediate);
  }
}

test("operations are stored with their traces emptied, and checkpointed when they are", async () => {
  const [operation] = operationsOf(Buffer.from(boxcar({ type: "Nack" }, sequenced(7))), 3);
  assert.deepEqual([operation?.number, operation?.offset, operation?.tenantId], [7, 3, "t"]);
  assert.deepEqual((operation?.stored["operation"] as { traces: unknown }).traces, []);
  assert.deepEqual(operation?.stored["mongoTimestamp"], new Date(1_700_000_000_000));
  const memory = new Memory();
  const sidecar = await FakeSidecar.start(scriptorium(memory), { settings: QUICK });
  await sidecar.feed(boxcar(sequenced(1)), boxcar({ type: "Nack" }));
  await until(() => sidecar.checkpoint === 1);
  assert.deepEqual(memory.inserts, [[1]]);
  await sidecar.stop();
});

test("operations that arrive while a batch is in flight make the next one, sliced by document and size", async () => {
  const memory = new Memory();
  let open: (() => void) | undefined;
  memory.gate = new Promise((resolve) => (open = resolve));
  const sidecar = await FakeSidecar.start(scriptorium(memory), { settings: { ...QUICK, max_db_batch_size: 2 } });
  await sidecar.feed(
    boxcar(sequenced(1)),
    boxcar(sequenced(2), sequenced(3), sequenced(4)),
    boxcar(sequenced(9, "other")),
  );
  assert.deepEqual(sidecar.checkpoints, []);
  open?.();
  await until(() => sidecar.checkpoint === 2);
  assert.deepEqual(memory.inserts, [[1], [2, 3], [4], [9]]);
  assert.deepEqual(sidecar.checkpoints, [0, 2]);
  await sidecar.stop();
});

test("a database that is away: tried again, then a pause until it answers, and all comes again", async () => {
  const memory = new Memory();
  memory.failures = [new Away("first"), new Away("second")];
  memory.pings = [new Away("third")];
  const sidecar = await FakeSidecar.start(scriptorium(memory), { settings: QUICK });
  await sidecar.feed(boxcar(sequenced(1)));
  await until(() => sidecar.checkpoint === 0);
  assert.deepEqual([memory.inserts, memory.failures, memory.pings, sidecar.errors], [[[1]], [], [], []]);
  await sidecar.stop();
});

test("an operation that is refused is critical with its offset; a fault is recoverable", async () => {
  for (const [failure, action, offset] of [
    [(operation: Operation) => new Refused(operation, "planned"), "critical", 0],
    [() => new TypeError("planned"), "restart", undefined],
  ] as const) {
    const memory = new Memory();
    const [operation] = operationsOf(Buffer.from(boxcar(sequenced(1))), 0);
    memory.failures = [failure(operation!)];
    const sidecar = await FakeSidecar.start(scriptorium(memory), { settings: QUICK });
    await sidecar.feed(boxcar(sequenced(1)));
    await sidecar.ended();
    assert.deepEqual([sidecar.errors[0]?.action, sidecar.errors[0]?.offset], [action, offset]);
  }
});

test("a malformed record fails when everything before it is stored", async () => {
  const memory = new Memory();
  const sidecar = await FakeSidecar.start(scriptorium(memory), { settings: QUICK });
  await sidecar.feed(boxcar(sequenced(1)), "{", boxcar(sequenced(2)));
  await sidecar.ended();
  assert.deepEqual([memory.inserts, sidecar.checkpoints], [[[1]], [0]]);
  assert.deepEqual([sidecar.errors[0]?.offset, sidecar.errors[0]?.type], [1, "Malformed"]);
  for (const wrong of [null, "5", '{"type": "boxcar"}', boxcar({ type: "SequencedOperation" })]) {
    assert.throws(() => operationsOf(wrong === null ? null : Buffer.from(wrong), 0), { name: "Malformed" });
  }
});

test("while many operations wait no message is handled", async () => {
  const memory = new Memory();
  let open: (() => void) | undefined;
  memory.gate = new Promise((resolve) => (open = resolve));
  const sidecar = await FakeSidecar.start(scriptorium(memory), { settings: { ...QUICK, max_pending: 1 } });
  const fed = sidecar.feed(boxcar(sequenced(1)), boxcar(sequenced(2)), boxcar(sequenced(3)));
  open?.();
  await fed;
  await until(() => sidecar.checkpoint === 2);
  assert.deepEqual(memory.inserts, [[1], [2], [3]]);
  await sidecar.stop();
});

test("the batch in flight counts at the end", async () => {
  const memory = new Memory();
  let open: (() => void) | undefined;
  memory.gate = new Promise((resolve) => (open = resolve));
  const sidecar = await FakeSidecar.start(scriptorium(memory), { settings: QUICK });
  await sidecar.feed(boxcar(sequenced(1)));
  const revoked = sidecar.revoke();
  open?.();
  await revoked;
  assert.equal(sidecar.checkpoint, 0);
});

test("what a bulk error means", () => {
  const operations = operationsOf(Buffer.from(boxcar(sequenced(1), sequenced(2))), 5);
  const bulk = (...codes: number[]): MongoBulkWriteError => {
    const writeErrors = codes.map((code, index) => ({ code, index, errmsg: "planned" }));
    const result = { getWriteConcernError: () => undefined };
    return new MongoBulkWriteError({ message: "planned", writeErrors } as never, result as never);
  };
  assert.deepEqual(duplicatesIn(bulk(11000, 11000), operations), operations);
  assert.throws(() => duplicatesIn(bulk(11000, 2), operations), Refused);
  assert.throws(() => duplicatesIn(bulk(11000, 189), operations), Away);
  assert.throws(() => duplicatesIn(bulk(), operations), Away);
});

test("an operation that was sequenced again is the same; another with its number is not", () => {
  const stored = (change: object): Record<string, unknown> => ({ a: 1, operation: { n: 1, ...change } });
  assert.ok(isSame(stored({ traces: [] }), { ...stored({ additionalContent: "x" }), _id: 1, mongoTimestamp: 2 }));
  assert.ok(!isSame(stored({}), stored({ contents: "y" })));
});

test("settings are checked, and the url is in no text", () => {
  assert.throws(() => settingsOf({ colection: "x" }), /unknown setting "colection": scriptorium knows url/);
  assert.throws(() => settingsOf({ max_pending: 0 }), /setting max_pending: expected a whole number above 0, got 0/);
  assert.throws(
    () => settingsOf({ url: "http://secret" }),
    (error: Error) => /setting url/.test(error.message) && !error.message.includes("secret"),
  );
  assert.throws(
    () => new Store(settingsOf({ url: "mongodb://a:se/cret@b:x" }), () => undefined),
    (error: Error) => /no valid MongoDB url/.test(error.message) && !error.message.includes("cret@"),
  );
});
