import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { LambdaCloseType, NotCommittedError, type IContext, type Message } from "../src/index.js";
import { CheckpointOutcome, CheckpointResultSchema } from "../src/protocol/lambda_pb.js";
import { create } from "@bufbuild/protobuf";
import { LeaseProgress } from "../src/progress.js";
import { Signs } from "../src/signs.js";
import { FakeSidecar } from "../src/testing.js";
import { noSink, until } from "./helpers.js";

const accepted = create(CheckpointResultSchema, { outcome: CheckpointOutcome.ACCEPTED });

function progressed(delivered = 100): LeaseProgress {
  const progress = new LeaseProgress("lease", 1000, 0, noSink);
  progress.deliveredTo(delivered);
  return progress;
}

function stateOf(entry: { state?: Uint8Array | undefined } | undefined): string | undefined {
  return entry?.state === undefined ? undefined : Buffer.from(entry.state).toString();
}

// ---------------------------------------------------------------------------------------------------- state

test("a state goes with its checkpoint, and with later ones until it has arrived", () => {
  const progress = progressed();
  progress.checkpoint(1, Buffer.from("one"));
  assert.equal(stateOf(progress.take()), "one");
  progress.failed();
  progress.checkpoint(2);
  const entry = progress.take();
  assert.ok(entry);
  assert.deepEqual([entry.offset, stateOf(entry)], [2n, "one"]);
  progress.answered(entry, accepted);
  progress.checkpoint(3);
  assert.equal(progress.take()?.state, undefined);
});

test("the last state counts, and an empty one is a state", () => {
  const progress = progressed();
  progress.checkpoint(1, Buffer.from("one"));
  progress.checkpoint(2, Buffer.alloc(0));
  assert.equal(stateOf(progress.take()), "");
  progress.checkpoint(2, Buffer.from("ignored"));
  progress.checkpoint(1, Buffer.from("ignored"));
  assert.equal(stateOf(progress.seal()), "");
});

test("a state waits until its offset is delivered", () => {
  const progress = progressed(3);
  progress.checkpoint(2, Buffer.from("two"));
  progress.checkpoint(9, Buffer.from("nine"));
  assert.equal(stateOf(progress.take()), "two");
  progress.deliveredTo(9);
  assert.equal(stateOf(progress.take()), "nine");
});

test("an entry without an offset has no state", () => {
  const progress = progressed();
  progress.checkpoint(1, Buffer.from("one"));
  progress.take();
  progress.handled = 5;
  const entry = progress.take();
  assert.deepEqual([entry?.offset, entry?.state], [undefined, undefined]);
});

test("the next lambda gets the state of the last checkpoint, whatever the lambda does with its bytes", async () => {
  const seen: string[] = [];
  const bytes = Buffer.from("x");
  const sidecar = await FakeSidecar.start(
    (message: Message, context: IContext) => {
      seen.push(context.state.toString());
      bytes.write(String(message.offset));
      context.checkpoint(message, bytes);
      bytes.write("?");
    },
    { state: "first" },
  );
  await sidecar.feed("a", "b");
  await sidecar.restart();
  await sidecar.feed("c");
  assert.deepEqual(seen, ["first", "first", "1"]);
  assert.equal(sidecar.state.toString(), "2");
  await sidecar.stop();
});

test("a state that is too long is refused, with both numbers; kafka-service's restartFlag is none", async () => {
  const sidecar = await FakeSidecar.start(
    (message, context) => {
      assert.throws(() => {
        context.checkpoint(message, "12345");
      }, /RangeError: checkpoint\(state\): 5 bytes, and the sidecar keeps at most 4/);
      assert.throws(() => {
        context.checkpoint(message, 5 as never);
      }, TypeError);
      context.checkpoint(message, true);
    },
    { maxStateBytes: 4 },
  );
  await sidecar.feed("a");
  assert.deepEqual([sidecar.checkpoint, sidecar.state.length, sidecar.errors], [0, 0, []]);
  await sidecar.stop();
});

// ------------------------------------------------------------------------------------------------ committed

test("code that waits goes on when its offset is committed", async () => {
  const done: number[] = [];
  const sidecar = await FakeSidecar.start(
    (message, context) => {
      context.checkpoint(message);
      void context.committed(message.offset).then(() => done.push(message.offset));
    },
    { autoCommit: false },
  );
  await sidecar.feed("a", "b");
  assert.deepEqual(done, []);
  await sidecar.commit();
  assert.deepEqual(done, [0, 1]);
  await sidecar.stop();
});

for (const [how, end] of [
  ["the stream breaks", (sidecar: FakeSidecar) => sidecar.restart()],
  ["the partition is revoked", (sidecar: FakeSidecar) => sidecar.revoke(100)],
  ["a transaction is aborted", (sidecar: FakeSidecar) => sidecar.abort()],
  ["the process stops", (sidecar: FakeSidecar) => sidecar.stop()],
] as const) {
  test(`a wait fails when the lease ends before: ${how}`, async () => {
    const waits: Promise<void>[] = [];
    const sidecar = await FakeSidecar.start(
      (message, context) => {
        context.checkpoint(message);
        waits.push(context.committed(message.offset));
      },
      { autoCommit: false },
    );
    await sidecar.feed("a");
    await end(sidecar);
    await assert.rejects(waits[0] ?? Promise.resolve(), NotCommittedError);
    assert.deepEqual(sidecar.errors, []);
  });
}

test("a handler that waits does not hold up Closed, and its end is no failure", async () => {
  const sidecar = await FakeSidecar.start((_, context) => context.committed(5), { autoCommit: false });
  const feeding = sidecar.feed("a");
  await sidecar.revoke(50);
  await feeding;
  assert.deepEqual(sidecar.errors, []);
});

// ------------------------------------------------------------------------------------------------- progress

test("the first sign of life goes at once, then one a second with the latest text", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const told: string[] = [];
    const signs = new Signs();
    signs.give("0");
    signs.open((text) => told.push(text));
    signs.give("1");
    signs.give("2");
    assert.deepEqual(told, ["0"]);
    mock.timers.tick(1000);
    assert.deepEqual(told, ["0", "2"]);
    mock.timers.tick(1000);
    signs.give("x".repeat(300));
    assert.equal(told[2]?.length, 256);
    signs.give("3");
    signs.end();
    mock.timers.tick(1000);
    signs.give("4");
    assert.equal(told.length, 3);
  } finally {
    mock.timers.reset();
  }
});

test("a sign of life needs no text", async () => {
  const sidecar = await FakeSidecar.start((_, context) => {
    context.progress();
  });
  await sidecar.feed("a");
  assert.deepEqual(sidecar.progress, [""]);
  await sidecar.stop();
});

// ------------------------------------------------------------------------------------- lanes, exactly-once

test("a lambda can read its lane and its guarantee", async () => {
  const seen: unknown[] = [];
  const sidecar = await FakeSidecar.start(
    (_, { lane, lanes, guarantee }) => {
      seen.push([lane, lanes, guarantee]);
    },
    { lane: 2, lanes: 8, guarantee: "exactly-once" },
  );
  await sidecar.feed("a");
  assert.deepEqual(seen, [[2, 8, "exactly-once"]]);
  await sidecar.stop();
});

test("the fake sidecar shows what is visible, and what waits for a checkpoint", async () => {
  const closed: LambdaCloseType[] = [];
  const plugin = {
    create: () => ({
      create: (_: unknown, context: IContext) => ({
        handler: async (message: Message) => {
          await context.produce("out", message.value);
          if (message.offset % 2 === 1) context.checkpoint(message);
        },
        close: (closeType: LambdaCloseType) => {
          closed.push(closeType);
        },
      }),
    }),
  };
  const sidecar = await FakeSidecar.start(plugin, { guarantee: "exactly-once" });
  const visible = (): (string | undefined)[] => sidecar.sent.map(({ value }) => value?.toString());
  await sidecar.feed("0", "1", "2");
  await until(() => sidecar.checkpoint === 1);
  assert.deepEqual([visible(), sidecar.held.map(({ value }) => value?.toString())], [["0", "1"], ["2"]]);
  await sidecar.abort();
  assert.deepEqual([closed, sidecar.held, sidecar.errors], [[LambdaCloseType.Error], [], []]);
  await sidecar.assign();
  await sidecar.feed("3");
  assert.deepEqual(visible(), ["0", "1", "2", "3"]);
  await sidecar.stop();
});

test("what a lambda produced at the record that failed is never visible", async () => {
  let fails = true;
  const sidecar = await FakeSidecar.start(
    async (message, context) => {
      void context.produce("out", message.value);
      if (message.offset === 1 && fails) {
        context.error("planned", { restart: true, offset: 1 });
        return;
      }
      context.checkpoint(message);
      await Promise.resolve();
    },
    { guarantee: "exactly-once" },
  );
  await sidecar.feed("0", "1");
  fails = false;
  await sidecar.restart();
  assert.deepEqual(
    sidecar.sent.map(({ value }) => value?.toString()),
    ["0", "1"],
  );
  assert.equal(sidecar.checkpoint, 1);
  await sidecar.stop();
});
