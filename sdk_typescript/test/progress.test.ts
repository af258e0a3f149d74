import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { CheckpointSender } from "../src/checkpoints.js";
import { Outcomes } from "../src/outcomes.js";
import { LeaseProgress } from "../src/progress.js";
import {
  CheckpointOutcome,
  CheckpointResponseSchema,
  CheckpointResultSchema,
  type CheckpointRequest,
  type CheckpointResponse,
  type CheckpointResult,
} from "../src/protocol/lambda_pb.js";
import { noSink, silent, until } from "./helpers.js";

function progressed(delivered = 1000, window = 1000): LeaseProgress {
  const progress = new LeaseProgress("lease", window, 0, noSink);
  progress.deliveredTo(delivered);
  return progress;
}

function result(outcome: number, delivered?: bigint): CheckpointResult {
  return create(CheckpointResultSchema, delivered === undefined ? { outcome } : { outcome, delivered });
}

test("only the latest offset is sent, and offset 0 is an offset", () => {
  const progress = progressed();
  assert.equal(progress.take(), undefined);
  progress.checkpoint(0);
  assert.equal(progress.take()?.offset, 0n);
  progress.checkpoint(7);
  progress.checkpoint(5);
  progress.handled = 8;
  const entry = progress.take();
  assert.deepEqual([entry?.offset, entry?.handled], [7n, 8n]);
  assert.equal(progress.take(), undefined);
});

test("a wrong offset is refused", () => {
  const progress = progressed();
  for (const wrong of [1.5, NaN, "1"]) {
    assert.throws(() => {
      progress.checkpoint(wrong as number);
    }, TypeError);
  }
  for (const wrong of [-1, 2 ** 53]) {
    assert.throws(() => {
      progress.checkpoint(wrong);
    }, RangeError);
  }
});

test("a checkpoint ahead of what was delivered is sent as far as it was, again with each frame", () => {
  const progress = progressed(4);
  progress.checkpoint(100);
  assert.equal(progress.take()?.offset, 4n);
  progress.deliveredTo(9);
  assert.equal(progress.take()?.offset, 9n);
});

test("BEYOND_DELIVERED keeps the offset, and sends it when more has come", () => {
  let marks = 0;
  const progress = new LeaseProgress("lease", 1000, 0, { ...noSink, changed: () => (marks += 1) });
  progress.deliveredTo(10);
  progress.checkpoint(10);
  const entry = progress.take();
  assert.ok(entry);
  progress.answered(entry, result(CheckpointOutcome.BEYOND_DELIVERED, 8n));
  assert.equal(marks, 1); // nothing new to send
  progress.deliveredTo(12);
  assert.equal(marks, 2);
  assert.equal(progress.take()?.offset, 10n);
});

test("what did not come through is sent again, and travels in Closed", () => {
  const progress = progressed();
  progress.checkpoint(3);
  progress.completedBeyond(2, 20);
  progress.take();
  progress.failed();
  const again = progress.take();
  assert.deepEqual([again?.offset, again?.completedBeyond, again?.completedBeyondBytes], [3n, 2, 20n]);
  assert.equal(progress.seal()?.offset, 3n);
  progress.checkpoint(4);
  assert.equal(progress.take(), undefined);
});

test("an accepted checkpoint does not travel in Closed; an unknown outcome never means accepted", () => {
  for (const [outcome, last] of [
    [CheckpointOutcome.ACCEPTED, undefined],
    [CheckpointOutcome.ACCEPTED_DRAINING, undefined],
    [99, 3n],
    [CheckpointOutcome.UNSPECIFIED, 3n],
  ] as const) {
    const progress = progressed();
    progress.checkpoint(3);
    const entry = progress.take();
    assert.ok(entry);
    progress.answered(entry, result(outcome));
    assert.equal(progress.seal()?.offset, last);
  }
});

test("a failure drops a checkpoint at or above it", () => {
  const progress = progressed();
  progress.checkpoint(5);
  assert.equal(progress.seal(5), undefined);
  const other = progressed();
  other.checkpoint(4);
  assert.equal(other.seal(5)?.offset, 4n);
});

test("skipped names are cut and kept to ten, and the count goes with the lambda's own offset only", () => {
  const progress = progressed(4);
  progress.checkpoint(9);
  const names = Array.from({ length: 12 }, (_, index) => `n${String(index)}`);
  progress.skipped(3, names, 12);
  const entry = progress.take();
  assert.deepEqual(
    [entry?.skipped, entry?.skipping.length, entry?.skipping[9], entry?.skippingCount],
    [0n, 10, "n11", 12],
  );
  progress.deliveredTo(9);
  assert.equal(progress.take()?.skipped, 3n);
});

test("a checkpoint waits for the outcomes of what was produced before it", () => {
  const progress = progressed();
  progress.outcomes = new Outcomes(
    (offset) => {
      progress.passed(offset);
    },
    () => undefined,
  );
  progress.outcomes.put += 1;
  progress.checkpoint(5);
  assert.equal(progress.take(), undefined);
  progress.outcomes.knownTo(1, 1);
  assert.equal(progress.take()?.offset, 5n);
});

class Answers {
  readonly requests: CheckpointRequest[] = [];
  underWay = 0;
  most = 0;
  answer: ((response?: CheckpointResponse) => void) | undefined;

  readonly call = async (request: CheckpointRequest): Promise<CheckpointResponse> => {
    this.requests.push(request);
    this.underWay += 1;
    this.most = Math.max(this.most, this.underWay);
    const results = request.entries.map(() => result(CheckpointOutcome.ACCEPTED));
    const response = await new Promise<CheckpointResponse | undefined>((resolve) => (this.answer = resolve));
    this.underWay -= 1;
    return response ?? create(CheckpointResponseSchema, { results });
  };
}

test("the quarter of the window counts messages where offsets have gaps", () => {
  const progress = new LeaseProgress("a", 8, 0, noSink);
  progress.came(10, 79, 0); // of a lane, one of eight: a quarter of the window, 2 messages, takes 16 offsets
  progress.checkpoint(0);
  assert.equal(progress.take()?.offset, 0n);
  progress.came(10, 89, 0); // without gaps: that holds for what is sent after the next call
  const urgent: number[] = [];
  for (const offset of [15, 16, 17, 18]) {
    progress.checkpoint(offset);
    if (progress.urgent) {
      urgent.push(offset);
      assert.equal(progress.take()?.offset, BigInt(offset));
    }
  }
  assert.deepEqual(urgent, [16, 18]);
});

test("the quarter of the window counts bytes where messages are large", () => {
  // Of 1 kB, and then of 3 kB, each: the window of 32 kB holds fewer of them than the window of 100 messages.
  const progress = new LeaseProgress("a", 100, 0, noSink, 32_000);
  progress.came(20, 19, 20_000);
  progress.checkpoint(0);
  assert.equal(progress.take()?.offset, 0n);
  for (const [last, size, urgent] of [
    [20, 3_000, 8],
    [21, 3_000, 10],
    [22, 100_000, 12],
    [23, 100_000, 13],
  ] as const) {
    progress.came(1, last, size); // what it says of sizes holds for what is sent after the next call
    progress.checkpoint(urgent - 1);
    assert.equal(progress.urgent, false, String(urgent - 1));
    progress.checkpoint(urgent);
    assert.equal(progress.urgent, true, String(urgent));
    assert.equal(progress.take()?.offset, BigInt(urgent));
  }
});

test("the quarter of the window is never larger than that of messages, and never none", () => {
  for (const [windowBytes, size, quarter] of [
    [32_000, 0, 25],
    [2 ** 64, 0, 25],
    [2 ** 64, Number.MAX_SAFE_INTEGER, 25],
    [1, 0, 1],
    [1, 1, 1],
  ] as const) {
    const progress = new LeaseProgress("a", 100, 0, noSink, windowBytes);
    progress.came(100, 99, size);
    progress.checkpoint(0);
    progress.take();
    progress.checkpoint(quarter - 1);
    assert.equal(progress.urgent, false, String([windowBytes, size]));
    progress.checkpoint(quarter);
    assert.equal(progress.urgent, true, String([windowBytes, size]));
  }
});

test("one call is under way, with the latest of all leases", async () => {
  const answers = new Answers();
  const sender = new CheckpointSender(answers.call, silent);
  const leases = ["a", "b"].map((lease) => new LeaseProgress(lease, 1000, 0, sender));
  const [a, b] = leases as [LeaseProgress, LeaseProgress];
  for (const lease of leases) {
    sender.add(lease);
    lease.deliveredTo(1000);
  }
  a.checkpoint(1);
  await until(() => answers.requests.length === 1);
  a.checkpoint(2);
  b.checkpoint(7);
  a.checkpoint(600); // urgent, and still one call at a time
  answers.answer?.();
  await until(() => answers.requests.length === 2);
  const told = answers.requests[1]?.entries.map(({ lease, offset }) => [lease, offset]);
  assert.deepEqual(told, [
    ["a", 600n],
    ["b", 7n],
  ]);
  assert.equal(answers.most, 1);
  answers.answer?.(create(CheckpointResponseSchema, {})); // of another length: nothing of it counts
  await until(() => answers.requests.length === 3);
  assert.deepEqual(answers.requests[2]?.entries.map(({ offset }) => offset).sort(), [600n, 7n].sort());
  sender.end();
});
