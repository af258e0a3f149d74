import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { afterEach, test } from "node:test";
import type * as core from "@fluidframework/server-services-core";
import type * as sdk from "kafka-sidecar-sdk";
import { FakeSidecar } from "kafka-sidecar-sdk/testing";
import { hosted } from "../src/adapter.js";
import { Beyond } from "../src/beyond.js";
import { Producer } from "../src/producer.js";
import { RouterFactory } from "../src/router.js";
import { until } from "./memory.js";

const ROUTER = { partitionActivityTimeout: 600_000, partitionActivityCheckInterval: 60_000 };

type Make = (config: never, context: core.IContext) => core.IPartitionLambda;

/** A factory of kafka-service's kind. */
class Factory extends EventEmitter implements core.IPartitionLambdaFactory<never> {
  constructor(private readonly make: Make) {
    super();
  }

  async create(config: never, context: core.IContext): Promise<core.IPartitionLambda> {
    return this.make(config, context);
  }

  async dispose(): Promise<void> {}
}

let sidecar: FakeSidecar | undefined;

async function start(factory: (context: sdk.IContext) => EventEmitter): Promise<FakeSidecar> {
  const made = factory as (context: sdk.IContext) => core.IPartitionLambdaFactory;
  sidecar = await FakeSidecar.start(hosted(async () => ({ factory: made, close: async () => undefined })));
  return sidecar;
}

afterEach(() => sidecar?.stop());

function boxcar(documentId: string): string {
  return JSON.stringify({ type: "boxcar", tenantId: "t", documentId, contents: [] });
}

test("a pause asks for no more than can come again", async () => {
  const handled: number[] = [];
  const paused: number[] = [];
  let context: core.IContext | undefined;
  const running = await start(
    () =>
      new Factory((_, given) => {
        context = given;
        return {
          handler: (message) => {
            handled.push(message.offset);
            if (message.offset === 1) given.checkpoint(message);
            return undefined;
          },
          close: () => undefined,
          pause: (offset) => paused.push(offset),
        };
      }),
  );
  await running.feed("a", "b", "c", "d");
  for (const offset of [0, 3, 9]) {
    context?.pause(offset, "for a test");
    await until(() => running.paused === "for a test");
    context?.resume();
    await until(() => running.paused === undefined && handled.at(-1) === 3);
    await running.handled();
  }
  assert.deepEqual(paused, [2, 3, 4]); // after the checkpoint, as asked for, and nothing
  assert.deepEqual(handled, [0, 1, 2, 3, 2, 3, 3]);
  assert.deepEqual(running.errors, []);
});

test("a document pauses the router: all of its documents' messages come again, and are counted once", async () => {
  const handled: string[] = [];
  let isDown = true;
  const make: Make = (config: { documentId: string }, context) => ({
    handler: (message) => {
      if (config.documentId === "A" && message.offset === 2 && isDown) {
        isDown = false;
        context.pause(message.offset, "down");
        setImmediate(() => {
          context.resume();
        });
        return undefined;
      }
      handled.push(`${config.documentId}${String(message.offset)}`);
      if (message.offset !== 1) context.checkpoint(message); // B keeps its first one until its next
      return undefined;
    },
    close: () => undefined,
  });
  const running = await start((context) => new RouterFactory(new Factory(make) as never, ROUTER, context));
  await running.feed(boxcar("A"), boxcar("B")); // offsets 0 and 1
  await until(() => handled.includes("B1"));
  await running.feed(boxcar("A"), boxcar("A"));
  await until(() => handled.includes("A3"));
  assert.deepEqual(handled, ["A0", "B1", "B1", "A2", "A3"]);
  await until(() => running.checkpoint === 0 && running.completedBeyond.count === 2);
  assert.equal(running.completedBeyond.bytes, 2 * boxcar("A").length);
  await running.feed(boxcar("B"));
  await until(() => running.checkpoint === 4 && running.completedBeyond.count === 0);
});

test("an error of the factory restarts its partition; listeners do not add up", async () => {
  const factory = new Factory(() => ({ handler: () => undefined, close: () => undefined }));
  const running = await start(() => factory);
  factory.emit("error", new Error("the database went away"));
  await running.ended();
  assert.equal(running.errors[0]?.action, "restart");
  await running.assign();
  assert.equal(factory.listenerCount("error"), 1);
});

test("a boxcar is one record on the partition that is read, and one above the service's limit is refused", async () => {
  let producer: Producer | undefined;
  const running = await start((context) => {
    producer = new Producer(context, "deltas");
    return new Factory(() => ({ handler: () => undefined, close: () => undefined }));
  });
  const messages = [{ type: "Nack", tenantId: "t", documentId: "d" }];
  const sent = producer?.send(messages, "t", "d");
  messages.length = 0; // what was sent stays as it was
  await sent;
  const [record] = running.sent;
  const contents = '[{"type":"Nack","tenantId":"t","documentId":"d"}]';
  assert.equal(String(record?.value), `{"contents":${contents},"documentId":"d","tenantId":"t","type":"boxcar"}`);
  assert.deepEqual([record?.topic, record?.partition, String(record?.key)], ["deltas", 0, "d"]);
  const large = { type: "x".repeat(750 * 1024), tenantId: "t", documentId: "d" };
  await assert.rejects(async () => producer?.send([large], "t", "d"), { code: 413 });
});

test("a message of no document is done, and counts only after the checkpoint", () => {
  const beyond = new Beyond();
  beyond.passed(5); // the router moves its checkpoint while it handles the message
  beyond.delivered(5, 10, undefined);
  assert.deepEqual([beyond.count, beyond.bytes], [0, 0]);
  beyond.delivered(6, 10, "t/A");
  beyond.delivered(7, 20, undefined);
  assert.deepEqual([beyond.count, beyond.bytes], [1, 20]);
});
