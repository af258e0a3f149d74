import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { FakeSidecar } from "kafka-sidecar-sdk/testing";
import { hosted } from "../src/adapter.js";
import { scriptorium } from "../src/scriptorium.js";
import { Memory, recordings, until } from "./memory.js";

let running: FakeSidecar | undefined;

async function start(memory: Memory, settings: Record<string, unknown> = {}): Promise<FakeSidecar> {
  const plugin = hosted((given) => scriptorium(given, memory.stores));
  running = await FakeSidecar.start(plugin, { topic: "deltas", settings: { scriptorium: settings } });
  return running;
}

afterEach(() => running?.stop()); // also after a failure: its timers keep the process

/** A recorded operation, as deli writes it. */
function boxcar(documentId: string, recorded: Record<string, unknown>): { key: string; value: string } {
  const operation = { ...recorded, contents: "x", traces: [{ service: "deli", action: "end", timestamp: 1 }] };
  const content = { type: "SequencedOperation", tenantId: "t", documentId, operation };
  return { key: documentId, value: JSON.stringify({ contents: [content], documentId, tenantId: "t", type: "boxcar" }) };
}

const DELTAS = recordings().flatMap(({ name, deltas }) => deltas.map((recorded) => boxcar(name, recorded)));

function assertStored(memory: Memory): void {
  const stored = memory.deltas.rows.map(({ mongoTimestamp: _, ...row }) => JSON.stringify(row)).sort();
  const sent = DELTAS.map(({ value }) => {
    const [content] = JSON.parse(value).contents;
    return JSON.stringify({ ...content, operation: { ...content.operation, traces: [] } });
  });
  assert.deepEqual(stored, sent.sort());
}

test("recorded operations are stored once each, also when they come twice", async () => {
  const memory = new Memory();
  const sidecar = await start(memory);
  await sidecar.feed(...DELTAS);
  await until(() => sidecar.checkpoint === DELTAS.length - 1);
  await sidecar.feed(...DELTAS.slice(0, 100));
  await until(() => sidecar.checkpoint === DELTAS.length + 99);
  assertStored(memory);
  await sidecar.stop();
  assert.deepEqual(sidecar.errors, []);
});

test("with the circuit breaker a database that is down pauses the partition, and nothing is missing after it", async () => {
  const memory = new Memory();
  const options = { database: { resetTimeout: 20 } };
  const sidecar = await start(memory, { circuitBreakerEnabled: true, circuitBreakerOptions: options });
  // The published code tries each insert again after 1, 2 and 4 s; a collection that tries by itself is tried once.
  Object.assign(memory.deltas, { retryEnabled: true });
  await sidecar.restart();
  memory.deltas.failures = [new Error("no primary")];
  await sidecar.feed(...DELTAS.slice(0, 10));
  await until(() => sidecar.paused !== undefined);
  await until(() => sidecar.paused === undefined);
  await sidecar.feed(...DELTAS.slice(10));
  await until(() => sidecar.checkpoint === DELTAS.length - 1);
  assertStored(memory);
  await sidecar.stop();
});

test("without it, scriptorium asks to be made again", async () => {
  const memory = new Memory();
  Object.assign(memory.deltas, { retryEnabled: true });
  memory.deltas.failures = [new Error("no primary")];
  const sidecar = await start(memory);
  await sidecar.feed(...DELTAS.slice(0, 10));
  await sidecar.ended();
  assert.equal(sidecar.errors[0]?.action, "restart");
  assert.equal(sidecar.checkpoint, undefined);
  await sidecar.assign();
  await sidecar.feed(...DELTAS.slice(10));
  await until(() => sidecar.checkpoint === DELTAS.length - 1);
  assertStored(memory);
  await sidecar.stop();
});
