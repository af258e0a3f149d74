import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { LinkError, TooLargeError, type ProduceError } from "../src/errors.js";
import { limitsOf, type Limits } from "../src/limits.js";
import { Outcomes } from "../src/outcomes.js";
import { Producing } from "../src/producing.js";
import { LeaseProgress, type Sink } from "../src/progress.js";
import {
  CheckpointOutcome,
  CheckpointResultSchema,
  ProduceOutcome,
  ProduceResponseSchema,
  type CheckpointEntry,
  type ProduceRequest,
  type ProduceResponse,
} from "../src/protocol/lambda_pb.js";
import { until } from "./helpers.js";

type Reply = (request: ProduceRequest) => ProduceResponse | Promise<ProduceResponse>;

function result(outcome: CheckpointOutcome): ReturnType<typeof create<typeof CheckpointResultSchema>> {
  return create(CheckpointResultSchema, { outcome });
}

/** HELD, or WRITTEN with a commit that is accepted. */
function answered(request: ProduceRequest, commit = CheckpointOutcome.ACCEPTED): ProduceResponse {
  const isWritten = request.commit !== undefined && commit === CheckpointOutcome.ACCEPTED;
  const response = create(ProduceResponseSchema, {
    outcomes: request.values.map(() => (isWritten ? ProduceOutcome.WRITTEN : ProduceOutcome.HELD)),
    partitions: request.values.map(() => (isWritten ? 0 : -1)),
    offsets: request.values.map((_, index) => (isWritten ? BigInt(index) : -1n)),
  });
  if (request.commit !== undefined) response.commit = result(commit);
  return response;
}

function refused(request: ProduceRequest, outcome: ProduceOutcome): ProduceResponse {
  return create(ProduceResponseSchema, {
    outcomes: request.values.map(() => outcome),
    partitions: request.values.map(() => -1),
    offsets: request.values.map(() => -1n),
    errors: request.values.map(() => "planned"),
  });
}

/** A lease with exactly-once, whose calls the test answers: those of Produce by `reply`, checkpoints by `accept`. */
class Plant implements Sink {
  commitSpacingMs = 0;
  reply: Reply = answered;
  /** What was told, in order: `values | commit`, or `checkpoint offset`. */
  readonly told: string[] = [];
  readonly entries: CheckpointEntry[] = [];
  readonly unknown: ProduceError[] = [];
  readonly requests: ProduceRequest[] = [];
  readonly progress = new LeaseProgress("lease", 1000, 0, this);
  readonly outcomes = new Outcomes(
    (offset, state) => {
      this.progress.passed(offset, state);
    },
    () => undefined,
  );
  readonly producing: Producing;
  #isHeldBack = false;

  constructor(limits: Partial<Limits> = {}) {
    const call = async (request: ProduceRequest): Promise<ProduceResponse> => {
      this.requests.push(request);
      const values = request.values.map((value) => Buffer.from(value).toString()).join(",");
      this.told.push(request.commit === undefined ? values : `${values} | ${String(request.commit.offset)}`);
      return this.reply(request);
    };
    const onUnknown = (error: ProduceError): void => {
      this.unknown.push(error);
      this.progress.seal(); // as a life does, which fails
      this.producing.end("planned");
    };
    const commits = { progress: this.progress, onUnknown };
    const all = { ...limitsOf(undefined), ...limits };
    this.producing = new Producing("lease", call, () => undefined, this.outcomes, all, commits);
    this.progress.outcomes = this.outcomes;
    this.progress.isSpaced = true;
    this.progress.deliveredTo(100);
  }

  /** From now on checkpoints wait for `accept`. */
  holdBack(): void {
    this.#isHeldBack = true;
  }

  changed(): void {
    const entry = this.progress.take();
    if (entry === undefined) return;
    if (entry.offset !== undefined) this.told.push(`checkpoint ${String(entry.offset)}`);
    this.entries.push(entry);
    if (!this.#isHeldBack) this.accept();
  }

  accept(outcome = CheckpointOutcome.ACCEPTED): void {
    const entry = this.entries.at(-1);
    assert.ok(entry);
    this.progress.answered(entry, result(outcome));
  }

  hurry(): void {
    // Each checkpoint is taken as soon as it is there.
  }

  forget(): void {
    // Nothing is kept.
  }

  put(value: string, source?: number): Promise<unknown> {
    return this.producing.put("out", value, source === undefined ? {} : { source });
  }
}

test("records go with the last checkpoint after them, and none that was produced after it", async () => {
  const plant = new Plant();
  void plant.put("a");
  plant.progress.checkpoint(0);
  void plant.put("b");
  plant.progress.checkpoint(1);
  void plant.put("c");
  await plant.producing.drained();
  assert.deepEqual(plant.told, ["a,b | 1", "c"]);
  plant.progress.checkpoint(2);
  assert.deepEqual(plant.told, ["a,b | 1", "c", "checkpoint 2"]);
});

test("records that do not fit go before, without the checkpoint", async () => {
  const plant = new Plant({ produceRecords: 2 });
  for (const value of ["a", "b", "c"]) void plant.put(value);
  plant.progress.checkpoint(5);
  await plant.producing.drained();
  assert.deepEqual(plant.told, ["a,b", "c | 5"]);
});

test("HELD is a success, and says not where the record is", async () => {
  const plant = new Plant();
  assert.deepEqual(await plant.put("a"), { topic: "out", partition: -1, offset: -1 });
});

test("records wait for a checkpoint that is under way", async () => {
  const plant = new Plant();
  plant.holdBack();
  plant.progress.checkpoint(3);
  void plant.put("a");
  plant.progress.checkpoint(4);
  await until(() => plant.told.length > 0);
  await new Promise(setImmediate);
  assert.deepEqual(plant.told, ["checkpoint 3"]);
  plant.accept();
  await plant.producing.drained();
  assert.deepEqual(plant.told, ["checkpoint 3", "a | 4"]);
});

test("a checkpoint that is not due gives way to records, and is covered by the next", async () => {
  const plant = new Plant();
  await plant.put("a");
  plant.commitSpacingMs = 60_000;
  plant.progress.checkpoint(0);
  await plant.put("b");
  plant.progress.checkpoint(1);
  await plant.put("c");
  assert.deepEqual(plant.told, ["a", "checkpoint 0", "b", "c"]);
  plant.progress.checkpoint(2);
  assert.equal(plant.progress.seal()?.offset, 2n);
});

test("a checkpoint that records have passed is not sent any more", async () => {
  const plant = new Plant();
  await plant.put("a");
  plant.commitSpacingMs = 60_000;
  plant.progress.checkpoint(0);
  plant.progress.checkpoint(1);
  await plant.put("b");
  assert.equal(plant.progress.seal(), undefined);
});

test("a quarter of a window is due at once", async () => {
  const plant = new Plant();
  await plant.put("a");
  plant.commitSpacingMs = 60_000;
  plant.progress.checkpoint(0);
  plant.progress.deliveredTo(500);
  plant.progress.checkpoint(400);
  assert.deepEqual(plant.told, ["a", "checkpoint 0", "checkpoint 400"]);
});

test("no checkpoint is sent while records are unanswered, also not in Closed", async () => {
  const plant = new Plant();
  let answer: (() => void) | undefined;
  plant.reply = (request) =>
    new Promise((resolve) => {
      answer = () => {
        resolve(answered(request));
      };
    });
  plant.progress.deliveredTo(3);
  void plant.put("a");
  await until(() => plant.told.length === 1);
  plant.progress.passed(9); // ahead: it was sent as far as it was delivered, and goes on with each frame
  plant.progress.deliveredTo(4);
  assert.deepEqual(plant.told, ["a"]);
  answer?.();
  await plant.producing.drained();
  assert.deepEqual(plant.told, ["a", "checkpoint 4"]);
});

test("a commit that is not accepted goes on as a checkpoint of its own", async () => {
  const plant = new Plant();
  plant.reply = (request) => answered(request, CheckpointOutcome.BEYOND_DELIVERED);
  void plant.put("a");
  plant.progress.checkpoint(0);
  await plant.producing.drained();
  assert.deepEqual(plant.told, ["a | 0", "checkpoint 0"]);
});

test("a commit with a dead lease ends the checkpoints", async () => {
  const plant = new Plant();
  plant.reply = (request) => {
    const response = refused(request, ProduceOutcome.STALE_LEASE);
    response.commit = result(CheckpointOutcome.STALE_LEASE);
    return response;
  };
  const record = plant.put("a");
  plant.progress.checkpoint(0);
  await assert.rejects(record, { kind: "stale_lease" });
  assert.ok(plant.progress.sealed);
});

test("a commit without an answer: nobody knows, and nothing of it is sent again", async () => {
  const plant = new Plant();
  plant.reply = () => Promise.reject(new LinkError("planned"));
  const record = plant.put("a");
  plant.progress.checkpoint(7);
  await assert.rejects(record, { kind: "failed" });
  await until(() => plant.unknown.length === 1);
  assert.match(plant.unknown[0]?.message ?? "", /checkpoint 7 .*not known: planned/);
  assert.equal(plant.told.length, 1);
});

test("too large as a whole: the halves are held, then the checkpoint comes", async () => {
  const plant = new Plant();
  plant.reply = (request) => {
    if (request.values.length > 1) throw new TooLargeError("planned");
    return answered(request);
  };
  void plant.put("a");
  void plant.put("b");
  plant.progress.checkpoint(1);
  await plant.producing.drained();
  assert.deepEqual(plant.told, ["a,b | 1", "a", "b", "checkpoint 1"]);
});

test("a failure that nobody received holds the checkpoint and all after it back; then they go on", async () => {
  const plant = new Plant();
  plant.reply = (request) => refused(request, ProduceOutcome.TOO_MUCH_HELD);
  const record = plant.put("a");
  await plant.producing.drained();
  plant.reply = answered;
  plant.progress.checkpoint(0);
  void plant.put("b");
  plant.progress.checkpoint(1);
  await new Promise(setImmediate);
  assert.deepEqual(plant.told, ["a"]);
  await assert.rejects(record, { kind: "too_much_held" });
  await plant.producing.drained();
  assert.deepEqual(plant.told, ["a", "checkpoint 0", "b | 1"]);
});

test("sources are a column, and -1 where there is none", async () => {
  const plant = new Plant();
  void plant.put("a", 4);
  await plant.put("b");
  assert.deepEqual(plant.requests[0]?.sources, [4n, -1n]);
  await plant.put("c");
  assert.deepEqual(plant.requests[1]?.sources, []);
  assert.throws(() => plant.put("d", -1), RangeError);
});

test("a commit has its state, and a lower one has not", async () => {
  const plant = new Plant();
  plant.progress.deliveredTo(2);
  void plant.put("a");
  plant.progress.checkpoint(2, Buffer.from("two"));
  await plant.producing.drained();
  void plant.put("b");
  plant.progress.checkpoint(5, Buffer.from("five"));
  await plant.producing.drained();
  plant.progress.deliveredTo(4);
  plant.progress.deliveredTo(6);
  const states = [...plant.requests.map(({ commit }) => commit), ...plant.entries].map((entry) => [
    Number(entry?.offset ?? -1),
    entry?.state === undefined ? undefined : Buffer.from(entry.state).toString(),
  ]);
  assert.deepEqual(states, [
    [2, "two"],
    [-1, undefined],
    [4, undefined],
    [5, "five"],
  ]);
});
