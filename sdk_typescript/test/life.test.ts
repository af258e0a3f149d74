import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { Link } from "../src/connection.js";
import { LinkError } from "../src/errors.js";
import { LambdaCloseType, type IContext, type Message } from "../src/index.js";
import { Life } from "../src/life.js";
import { limitsOf } from "../src/limits.js";
import * as pb from "../src/protocol/lambda_pb.js";
import { settingsOf } from "../src/settings.js";
import { Turns } from "../src/timing.js";
import { noSink, silent, until } from "./helpers.js";

const { ClosedReason, RevokeReason } = pb;

/** A life whose stream and calls the test plays. */
class Stage implements Link {
  onFrame: Link["onFrame"] = () => undefined;
  onEnd: Link["onEnd"] = () => undefined;
  readonly events: string[] = [];
  readonly errors: pb.ErrorRequest[] = [];
  closed: pb.Closed | undefined;
  failError = false;
  readonly life: Life;
  readonly running: Promise<void>;

  constructor(
    handler: (message: Message, context: IContext) => unknown,
    options: { drainMs?: number; after?: Promise<void>; close?: (context: IContext) => Promise<void> | void } = {},
  ) {
    const calls = {
      error: (request: pb.ErrorRequest) => {
        this.errors.push(request);
        this.events.push("Error");
        if (this.failError) return Promise.reject(new LinkError("planned"));
        return after(20).then(() => {
          this.events.push("answer");
          return create(pb.ErrorResponseSchema, { outcome: pb.ErrorOutcome.RESTARTING });
        });
      },
      produce: () => new Promise<never>(() => undefined),
    };
    const place = { topic: "words", partition: 3, lane: 0, lanes: 1 };
    const lease = { ...place, lease: "lease-1", startOffset: 0, attempt: 1, state: Buffer.alloc(0) };
    this.life = new Life(lease, this, {
      lambdaName: "words",
      factory: {
        create: (_, context) => ({
          handler: (message) => handler(message, context) as undefined,
          close: (closeType) => {
            this.events.push(`close ${closeType}`);
            return options.close?.(context);
          },
        }),
      },
      settings: settingsOf({}),
      sink: noSink,
      calls,
      turns: new Turns(),
      api: undefined,
      window: 100,
      windowBytes: 40,
      limits: limitsOf(undefined),
      maxStateBytes: 2048,
      exactlyOnce: false,
      tellsCommitted: true,
      drainMs: options.drainMs ?? 5000,
      log: silent,
    });
    this.running = this.life.run(options.after);
  }

  say(frame: NonNullable<MessageInitShape<typeof pb.HostFrameSchema>["frame"]>): void {
    this.onFrame(create(pb.HostFrameSchema, { frame }));
  }

  batch(first: number, count = 1): void {
    this.say({
      case: "batch",
      value: { firstOffset: BigInt(first), values: Array.from({ length: count }, () => Buffer.alloc(1)) },
    });
  }

  revoke(reason: pb.RevokeReason, deadlineMs: number): void {
    this.say({ case: "revoked", value: { reason, deadlineMs } });
  }

  write({ frame }: pb.LambdaFrame): void {
    this.events.push(frame.case ?? "");
    if (frame.case === "closed") this.closed = frame.value;
  }

  halfClose(): void {
    this.events.push("half-close");
    this.onEnd();
  }

  cancel(): void {
    this.events.push("cancel");
    this.onEnd(new LinkError("cancelled"));
  }

  read(reading: boolean): void {
    if (this.reading !== reading) this.events.push(reading ? "read on" : "stop reading");
    this.reading = reading;
  }
  reading = true;
}

test("a quarter of the window in bytes is told at once, with messages of a byte", async () => {
  const stage = new Stage((message, context) => {
    context.checkpoint(message);
  });
  const { dispatcher, progress } = stage.life;
  await stage.life.begun.promise;
  stage.batch(0);
  await dispatcher.idle();
  assert.equal(progress.take()?.offset, 0n);
  stage.batch(1, 9);
  await dispatcher.idle();
  assert.equal(progress.urgent, false);
  stage.batch(10);
  await dispatcher.idle();
  assert.equal(progress.urgent, true);
  stage.revoke(RevokeReason.REBALANCE, 1000);
  await stage.running;
});

test("revoked: Closed carries the last checkpoint, also one made in close", async () => {
  const stage = new Stage(
    (message, context) => {
      context.checkpoint(message);
    },
    {
      close: (context) => {
        context.checkpoint(1);
      },
    },
  );
  stage.batch(0, 2);
  await stage.life.begun.promise;
  await stage.life.dispatcher.idle();
  stage.revoke(RevokeReason.REBALANCE, 1000);
  await stage.running;
  assert.deepEqual([stage.closed?.reason, stage.closed?.lastCheckpoint?.offset], [ClosedReason.REVOKED, 1n]);
  assert.deepEqual(stage.events, ["ready", "close Rebalance", "closed", "half-close", "cancel"]);
});

test("revoked with deadline 0: Closed comes, without a checkpoint, and the handler is told at once", async () => {
  for (const [reason, closeType] of [
    [RevokeReason.LOST, LambdaCloseType.Rebalance],
    [RevokeReason.SEEK, LambdaCloseType.Stop],
  ] as const) {
    const stage = new Stage(async (message, context) => {
      context.checkpoint(message);
      await new Promise((resolve) => {
        context.signal.addEventListener("abort", resolve);
      });
    });
    stage.batch(0);
    await until(() => stage.life.dispatcher.workingOn === 0);
    stage.revoke(reason, 0);
    await stage.running;
    assert.ok(stage.closed);
    assert.equal(stage.closed.lastCheckpoint, undefined);
    assert.ok(stage.events.includes(`close ${closeType}`));
  }
});

test("an error: its answer comes before Closed, and the last checkpoint below the offset travels with it", async () => {
  const stage = new Stage((message, context) => {
    if (message.offset === 2) context.error(new Error("planned"), { restart: true, offset: 2 });
    context.checkpoint(message);
  });
  stage.batch(0, 4);
  await stage.running;
  assert.deepEqual([stage.errors[0]?.offset, stage.errors[0]?.lastCheckpoint?.offset], [2n, 1n]);
  assert.deepEqual([stage.closed?.reason, stage.closed?.lastCheckpoint], [ClosedReason.ERROR, undefined]);
  const order = stage.events.filter((event) => event !== "close Error");
  assert.deepEqual(order, ["ready", "Error", "answer", "closed", "half-close", "cancel"]);
});

test("an error that does not arrive breaks the stream instead of closing it", async () => {
  const stage = new Stage(() => {
    throw new Error("planned");
  });
  stage.failError = true;
  stage.batch(0);
  await stage.running;
  assert.equal(stage.errors.length, 4);
  assert.deepEqual([stage.closed, stage.events.at(-1)], [undefined, "cancel"]);
});

test("a handler that fails while the partition is taken back: nothing at or above its message is checkpointed", async () => {
  const stage = new Stage(async (message, context) => {
    context.checkpoint(message);
    if (message.offset === 0) return;
    await after(30);
    throw new Error("planned");
  });
  stage.batch(0, 2);
  await until(() => stage.life.dispatcher.workingOn === 1);
  stage.revoke(RevokeReason.SHUTDOWN, 1000);
  await stage.running;
  assert.deepEqual([stage.closed?.reason, stage.closed?.lastCheckpoint], [ClosedReason.REVOKED, undefined]);
});

test("a handler that ends because it was told to has not failed", async () => {
  const stage = new Stage(async (message, context) => {
    if (message.offset === 0) {
      context.checkpoint(message);
      return;
    }
    await new Promise((_, reject) => {
      context.signal.addEventListener("abort", () => {
        reject(context.signal.reason as Error);
      });
    });
  });
  stage.batch(0, 2);
  await until(() => stage.life.dispatcher.workingOn === 1);
  stage.revoke(RevokeReason.REBALANCE, 100);
  await stage.running;
  assert.equal(stage.closed?.lastCheckpoint?.offset, 0n);
});

test("a broken stream: handlers are told, the lambda is closed, nothing is sent", async () => {
  const stage = new Stage(
    (_, context) =>
      new Promise<void>((resolve) => {
        context.signal.addEventListener("abort", () => {
          resolve();
        });
      }),
  );
  stage.batch(0);
  await until(() => stage.life.dispatcher.workingOn === 0);
  stage.onEnd(new LinkError("planned"));
  await stage.running;
  assert.deepEqual(stage.events, ["ready", "close Error", "cancel"]);
});

test("stopped: Closed(STOPPED), and Closed(DECLINED) before Ready", async () => {
  const stage = new Stage(() => undefined);
  await stage.life.begun.promise;
  stage.life.stop();
  await stage.running;
  assert.equal(stage.closed?.reason, ClosedReason.STOPPED);
  let release: (() => void) | undefined;
  const waiting = new Stage(() => undefined, { after: new Promise<void>((resolve) => (release = resolve)) });
  await after(5);
  waiting.life.stop();
  await until(() => waiting.closed !== undefined);
  assert.equal(waiting.closed?.reason, ClosedReason.DECLINED);
  release?.();
  await waiting.running;
});

test("a revoke while the process stops: the earlier deadline counts", async () => {
  const stage = new Stage(() => new Promise<void>(() => undefined), { drainMs: 1000 });
  stage.batch(0);
  await until(() => stage.life.dispatcher.workingOn === 0);
  const began = performance.now();
  stage.life.stop();
  stage.revoke(RevokeReason.REBALANCE, 300);
  await until(() => stage.closed !== undefined);
  assert.ok(performance.now() - began < 600);
  await stage.running;
  assert.equal(stage.life.left, "words/3: the handler at offset 0");
});

test("Ready waits until the partition's earlier lambda here has closed", async () => {
  let release: (() => void) | undefined;
  const stage = new Stage(() => undefined, { after: new Promise<void>((resolve) => (release = resolve)) });
  await after(20);
  assert.deepEqual(stage.events, []);
  release?.();
  await stage.life.begun.promise;
  assert.deepEqual(stage.events, ["ready"]);
  stage.life.stop();
  await stage.running;
});

test("Resumed of an earlier pause ends nothing, and what was under way comes again", async () => {
  const handled: number[] = [];
  const stage = new Stage((message, context) => {
    handled.push(message.offset);
    if (message.offset === 0) {
      context.pause(0, "first");
      context.pause(0, "second");
    }
  });
  stage.batch(0, 2);
  await until(() => stage.events.length === 3);
  stage.batch(2, 1); // was under way: it comes again
  stage.say({ case: "resumed", value: { number: 1, fromOffset: 0n } });
  await after(5);
  assert.deepEqual(handled, [0]);
  stage.say({ case: "resumed", value: { number: 2, fromOffset: 0n } });
  stage.batch(1, 1);
  await until(() => handled.length === 2);
  assert.deepEqual(handled, [0, 1]);
  stage.life.stop();
  await stage.running;
});

test("two windows wait at most: then nothing is read until there is room", async () => {
  let release: (() => void) | undefined;
  const stage = new Stage((message) =>
    message.offset === 0 ? new Promise<void>((resolve) => (release = resolve)) : undefined,
  );
  for (let first = 0; first < 300; first += 50) stage.batch(first, 50);
  await until(() => release !== undefined);
  assert.deepEqual(stage.events, ["stop reading", "ready"]);
  release?.();
  await until(() => stage.reading);
  await stage.life.dispatcher.idle();
  stage.life.stop();
  await stage.running;
});

test("a frame that goes back is refused", async () => {
  const stage = new Stage(() => undefined);
  stage.batch(5);
  assert.throws(() => {
    stage.batch(5);
  }, /comes after 5/);
  stage.life.stop();
  await stage.running;
});

test("handlers give the event loop back every few milliseconds", async () => {
  let rounds = 0;
  let isOver = false;
  const count = (): void => {
    rounds += 1;
    if (!isOver) setImmediate(count);
  };
  const stage = new Stage(() => {
    const end = performance.now() + 0.5;
    while (performance.now() < end);
  });
  stage.batch(0, 200); // 100 ms of work
  setImmediate(count);
  await stage.life.dispatcher.idle();
  isOver = true;
  assert.ok(rounds >= 8, `only ${String(rounds)} rounds of the loop`);
  stage.life.stop();
  await stage.running;
});
