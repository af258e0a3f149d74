import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { LambdaCloseType, ProduceError, type IContext, type IPlugin, type Message } from "../src/index.js";
import { FakeSidecar } from "../src/testing.js";
import { until } from "./helpers.js";

function plugin(handler: (message: Message, context: IContext) => unknown, closed: LambdaCloseType[] = []): IPlugin {
  return {
    create: () => ({
      create: (_, context) => ({
        handler: (message) => handler(message, context) as undefined,
        close: (closeType) => {
          closed.push(closeType);
        },
      }),
    }),
  };
}

test("a function is a lambda", async () => {
  const values: string[] = [];
  const sidecar = await FakeSidecar.start((message, context) => {
    values.push(String(message.value));
    context.checkpoint(message);
  });
  await sidecar.feed("one", Buffer.from("two"), null, {
    value: "three",
    key: "k",
    headers: [["h", null]],
    timestamp: 5,
  });
  assert.deepEqual(values, ["one", "two", "null", "three"]);
  assert.deepEqual(sidecar.checkpoints, [0, 1, 2, 3]);
  await sidecar.stop();
});

test("an async handler is awaited before the next message", async () => {
  const events: string[] = [];
  const sidecar = await FakeSidecar.start(async (message, context) => {
    events.push(`begin ${String(message.offset)}`);
    await after(2);
    events.push(`end ${String(message.offset)}`);
    context.checkpoint(message.offset);
  });
  await sidecar.feed("a", "b");
  assert.deepEqual(events, ["begin 0", "end 0", "begin 1", "end 1"]);
  await sidecar.stop();
});

test("what a handler throws is critical for its offset, and nothing at or above it is checkpointed", async () => {
  const closed: LambdaCloseType[] = [];
  const handled: number[] = [];
  const lambda = plugin((message, context) => {
    handled.push(message.offset);
    context.checkpoint(message);
    if (message.offset === 1) throw new RangeError("planned");
  }, closed);
  const sidecar = await FakeSidecar.start(lambda);
  await sidecar.feed("a", "b", "c");
  assert.deepEqual(handled, [0, 1]);
  assert.deepEqual(closed, [LambdaCloseType.Error]);
  const [error] = sidecar.errors;
  assert.deepEqual(
    [error?.action, error?.offset, error?.code, error?.message],
    ["critical", 1, "handler_failed", "planned"],
  );
  assert.equal(error?.type, "RangeError");
  assert.equal(sidecar.running, false);
});

test("context.error ends the lambda; the next one starts after the checkpoint", async () => {
  const handled: number[] = [];
  const sidecar = await FakeSidecar.start((message, context) => {
    handled.push(message.offset);
    if (message.offset === 1 && context.attempt < 2) context.error(new Error("planned"), { restart: true, offset: 1 });
    context.checkpoint(message);
  });
  await sidecar.feed("a", "b", "c");
  assert.equal(sidecar.errors[0]?.action, "restart");
  await sidecar.assign();
  await sidecar.assign();
  assert.deepEqual(handled, [0, 1, 1, 1, 2]);
  assert.deepEqual(sidecar.checkpoints, [0, 1, 2]);
  await sidecar.stop();
});

test("kafka-service's way to name the message that failed", async () => {
  const sidecar = await FakeSidecar.start((message, context) => {
    context.error("planned", { restart: false, markAsCorrupt: message, tenantId: "t" });
  });
  await sidecar.feed("a");
  assert.deepEqual([sidecar.errors[0]?.action, sidecar.errors[0]?.offset], ["critical", 0]);
});

test("a creation that fails is recoverable, without an offset", async () => {
  const sidecar = await FakeSidecar.start({
    create: () => ({
      create: () => {
        throw new Error("planned");
      },
    }),
  });
  assert.deepEqual([sidecar.errors[0]?.action, sidecar.errors[0]?.code], ["restart", "create_failed"]);
  const misfit = await FakeSidecar.start({ create: () => ({ create: () => ({}) as never }) });
  assert.match(misfit.errors[0]?.message ?? "", /a method handler\(message\)/);
});

test("a report stops nothing", async () => {
  const sidecar = await FakeSidecar.start((message, context) => {
    context.report("planned", message.offset);
    context.checkpoint(message);
  });
  await sidecar.feed("a", "b");
  assert.deepEqual(
    sidecar.errors.map(({ action, offset }) => [action, offset]),
    [
      ["report", 0],
      ["report", 1],
    ],
  );
  assert.deepEqual(sidecar.checkpoints, [0, 1]);
  await sidecar.stop();
});

test("a pause with an offset delivers from there again, and tells the lambda as kafka-service does", async () => {
  const events: string[] = [];
  const lambda: IPlugin = {
    create: () => ({
      create: (_, context) => ({
        handler: (message) => {
          events.push(`handle ${String(message.offset)}`);
          if (message.offset === 1 && !events.includes("resume")) context.pause(1, "database");
          else context.checkpoint(message);
        },
        pause: (offset) => events.push(`pause ${String(offset)}`),
        resume: () => events.push("resume"),
      }),
    }),
  };
  const sidecar = await FakeSidecar.start(lambda);
  await sidecar.feed("a", "b", "c");
  assert.equal(sidecar.paused, "database");
  await sidecar.resume();
  assert.deepEqual(events, ["handle 0", "handle 1", "pause 1", "resume", "handle 1", "handle 2"]);
  assert.deepEqual(sidecar.checkpoints, [0, 1, 2]);
  await sidecar.stop();
});

test("a pause in create holds the first message", async () => {
  const handled: number[] = [];
  const sidecar = await FakeSidecar.start({
    create: () => ({
      create: (_, context) => {
        context.pause(undefined, new Error("not yet"), 1000);
        return { handler: (message) => void handled.push(message.offset) };
      },
    }),
  });
  await sidecar.feed("a");
  assert.deepEqual([sidecar.paused, handled], ["not yet", []]);
  await sidecar.resume();
  assert.deepEqual(handled, [0]);
  await sidecar.stop();
});

test("a pause without an offset delivers nothing twice; its argument is checked", async () => {
  const handled: number[] = [];
  const sidecar = await FakeSidecar.start((message, context) => {
    handled.push(message.offset);
    context.checkpoint(message);
    if (message.offset === 0) context.pause();
    assert.throws(() => {
      context.pause(0);
    }, /does not come again/);
    assert.throws(() => {
      context.pause(99);
    }, /no such message/);
    assert.throws(() => {
      context.pause(undefined, "", -1);
    }, RangeError);
  });
  await sidecar.feed("a", "b");
  assert.deepEqual(handled, [0]);
  await sidecar.resume();
  assert.deepEqual(handled, [0, 1]);
  await sidecar.stop();
});

test("a rebalance closes the lambda and begins after its last checkpoint, also one made in close", async () => {
  const closed: LambdaCloseType[] = [];
  const handled: number[] = [];
  let last = -1;
  const sidecar = await FakeSidecar.start({
    create: () => ({
      create: (_, context) => ({
        handler: (message) => {
          handled.push(message.offset);
          last = message.offset;
        },
        close: (closeType) => {
          closed.push(closeType);
          context.checkpoint(last);
        },
      }),
    }),
  });
  await sidecar.feed("a", "b");
  await sidecar.rebalance();
  assert.deepEqual(sidecar.checkpoints, [1]);
  await sidecar.restart();
  await sidecar.stop();
  assert.deepEqual(closed, [LambdaCloseType.Rebalance, LambdaCloseType.Error, LambdaCloseType.Stop]);
  assert.deepEqual(handled, [0, 1]);
});

test("a revoke drops what no handler has begun, and tells the running one at 70 % of the deadline", async () => {
  const began = performance.now();
  let toldAt = 0;
  const handled: number[] = [];
  const sidecar = await FakeSidecar.start(async (message, context) => {
    handled.push(message.offset);
    await new Promise((resolve) => {
      context.signal.addEventListener("abort", resolve);
    });
    toldAt = performance.now() - began;
    context.checkpoint(message);
  });
  void sidecar.feed("a", "b");
  await until(() => handled.length === 1);
  await sidecar.revoke(1000);
  const took = performance.now() - began;
  assert.ok(
    toldAt >= 650 && toldAt < 900 && took < 1000,
    `told after ${String(toldAt)}, closed after ${String(took)} ms`,
  );
  assert.deepEqual([handled, sidecar.checkpoints], [[0], [0]]);
});

test("a handler that does not end delays neither Closed nor, for ever, the next lambda", async () => {
  const closed: LambdaCloseType[] = [];
  let release: (() => void) | undefined;
  const lambda = plugin(() => new Promise<void>((resolve) => (release = resolve)), closed);
  const sidecar = await FakeSidecar.start(lambda, { drainMs: 5000 });
  void sidecar.feed("a");
  await until(() => release !== undefined);
  const revoked = sidecar.revoke(50);
  await after(100);
  assert.deepEqual(closed, []); // never beside a handler
  release?.();
  await revoked;
  assert.deepEqual(closed, [LambdaCloseType.Rebalance]);
});

test("completed beyond and skipped are told", async () => {
  const sidecar = await FakeSidecar.start((message, context) => {
    context.completedBeyond(2, 20);
    context.skipped(1, ["doc"]);
    context.checkpoint(message);
    assert.throws(() => {
      context.completedBeyond(-1, 0);
    }, RangeError);
  });
  await sidecar.feed("a");
  assert.deepEqual(sidecar.completedBeyond, { count: 2, bytes: 20 });
  assert.deepEqual(sidecar.skipped, { count: 1, skipping: ["doc"] });
  await sidecar.stop();
});

test("produce tells where the record is; header names and nulls survive", async () => {
  const sidecar = await FakeSidecar.start(async (message, context) => {
    const { key, headers } = message;
    const first = await context.produce("out", message.value, { key, headers });
    const second = await context.produce("out", "text", { partition: 3 });
    assert.deepEqual([first, second.partition], [{ topic: "out", partition: 0, offset: message.offset }, 3]);
    context.checkpoint(message);
  });
  const headers = [
    ["\udcff", null],
    ["a", Buffer.alloc(0)],
  ] as const;
  await sidecar.feed({ value: null, key: "", headers }, "b");
  assert.deepEqual(sidecar.sent[0], {
    topic: "out",
    value: null,
    key: Buffer.alloc(0),
    headers,
    partition: undefined,
    source: undefined,
  });
  assert.deepEqual(sidecar.checkpoints, [0, 1]);
  await sidecar.stop();
});

test("a failure that is awaited belongs to the lambda", async () => {
  const sidecar = await FakeSidecar.start(async (message, context) => {
    await assert.rejects(context.produce("out", "x"), ProduceError);
    context.checkpoint(message);
  });
  sidecar.produceError = "planned";
  await sidecar.feed("a");
  assert.deepEqual([sidecar.checkpoints, sidecar.errors], [[0], []]);
  await sidecar.stop();
});

test("a failure that nobody awaits fails the lambda, and no checkpoint passes it", async () => {
  const sidecar = await FakeSidecar.start((message, context) => {
    context.checkpoint(message);
    if (message.offset === 1) void context.produce("out", "x");
    context.checkpoint(message.offset + 1);
  });
  await sidecar.feed("a");
  sidecar.produceError = "planned";
  await sidecar.feed("b", "c");
  await sidecar.ended();
  assert.deepEqual(sidecar.checkpoints, [0, 1]);
  const [error] = sidecar.errors;
  assert.deepEqual([error?.action, error?.code, error?.offset], ["restart", "produce_failed", undefined]);
  assert.match(error?.message ?? "", /not written to out \(failed\): planned; nobody awaited/);
});

test("a wait that its signal gives up has received nothing", async () => {
  const sidecar = await FakeSidecar.start(async (message, context) => {
    const given = context.produce("out", "x", { signal: AbortSignal.abort(new Error("given up")) });
    await assert.rejects(given, /given up/);
    context.checkpoint(message);
  });
  sidecar.produceError = "planned";
  await sidecar.feed("a");
  await sidecar.ended();
  assert.deepEqual([sidecar.checkpoints, sidecar.errors[0]?.code], [[], "produce_failed"]);
});
