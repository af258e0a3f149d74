import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { LinkError, ProduceError, TooLargeError } from "../src/errors.js";
import { limitsOf, type Limits } from "../src/limits.js";
import { Outcomes } from "../src/outcomes.js";
import { Producing } from "../src/producing.js";
import {
  ProduceOutcome,
  ProduceResponseSchema,
  type ProduceRequest,
  type ProduceResponse,
} from "../src/protocol/lambda_pb.js";
import { until } from "./helpers.js";

type Reply = (request: ProduceRequest) => ProduceResponse | Promise<ProduceResponse>;

function answer(request: ProduceRequest, outcome: number, retryAfterMs = 0): ProduceResponse {
  const isWritten = outcome === ProduceOutcome.WRITTEN;
  return create(ProduceResponseSchema, {
    outcomes: request.values.map(() => outcome),
    partitions: request.values.map(() => (isWritten ? 0 : -1)),
    offsets: request.values.map((_, index) => (isWritten ? BigInt(index) : -1n)),
    errors: isWritten ? [] : request.values.map(() => "planned"),
    retryAfterMs,
  });
}

function kindOf(result: PromiseSettledResult<unknown> | undefined): string | undefined {
  return result?.status === "rejected" && result.reason instanceof ProduceError ? result.reason.kind : undefined;
}

const written: Reply = (request) => answer(request, ProduceOutcome.WRITTEN);

/** A `Producing` whose calls are answered by these replies, the last one again and again. */
class Plant {
  readonly requests: ProduceRequest[] = [];
  readonly passed: number[] = [];
  readonly failures: Error[] = [];
  readonly full: boolean[] = [];
  underWay = 0;
  most = 0;
  readonly outcomes = new Outcomes(
    (offset) => this.passed.push(offset),
    (error) => this.failures.push(error),
  );
  readonly producing: Producing;

  constructor(replies: Reply[], limits: Partial<Limits> = {}) {
    const call = async (request: ProduceRequest): Promise<ProduceResponse> => {
      this.requests.push(request);
      this.most = Math.max(this.most, ++this.underWay);
      try {
        return await (replies.length > 1 ? replies.shift() : replies[0])!(request);
      } finally {
        this.underWay -= 1;
      }
    };
    const full = (isFull: boolean): void => void this.full.push(isFull);
    this.producing = new Producing("lease", call, full, this.outcomes, { ...limitsOf(undefined), ...limits });
  }

  values(): string[][] {
    return this.requests.map(({ values }) => values.map((value) => Buffer.from(value).toString()));
  }
}

test("what is produced in a row and during a call travels together, one call at a time", async () => {
  const plant = new Plant([written]);
  const { producing } = plant;
  const first = [producing.put("out", "1"), producing.put("out", "2")];
  await until(() => plant.requests.length === 1);
  const second = [producing.put("out", "3"), producing.put("out", "4")];
  await Promise.all([...first, ...second]);
  assert.deepEqual(plant.values(), [
    ["1", "2"],
    ["3", "4"],
  ]);
  assert.equal(plant.most, 1);
  await producing.drained();
});

test("a request has the columns that its records need", async () => {
  const plant = new Plant([written]);
  void plant.producing.put("a", null);
  await plant.producing.put("b", "", {
    key: null,
    headers: [
      ["n", null],
      ["m", ""],
    ],
    partition: 2,
  });
  const [request] = plant.requests;
  assert.deepEqual(
    [request?.topics, request?.topicIndexes],
    [
      ["a", "b"],
      [0, 1],
    ],
  );
  assert.deepEqual(
    [request?.keys, request?.nullKeys, request?.nullValues, request?.partitions],
    [[], [], [0], [-1, 2]],
  );
  assert.deepEqual([request?.headerCounts, request?.headerNames.length, request?.nullHeaderValues], [[0, 2], 2, [0]]);
});

test("a request keeps to the limits of the sidecar", async () => {
  const plant = new Plant([written], { produceRecords: 3, produceTopics: 2, requestBytes: 8192 });
  const all = [];
  for (const topic of ["a", "b", "c", "c", "c", "c"]) all.push(plant.producing.put(topic, "x"));
  all.push(plant.producing.put("c", Buffer.alloc(4000)), plant.producing.put("c", Buffer.alloc(4000)));
  await Promise.all(all);
  assert.deepEqual(
    plant.requests.map(({ topics, values }) => [topics.length, values.length]),
    [
      [2, 2],
      [1, 3],
      [1, 2],
      [1, 1],
    ],
  );
});

test("a record that can never fit fails at once, without a call", async () => {
  const plant = new Plant([written]);
  await assert.rejects(plant.producing.put("out", Buffer.alloc(1024 * 1024)), { kind: "too_large" });
  assert.equal(plant.requests.length, 0);
  plant.producing.outcomes.admit(1);
  assert.deepEqual(plant.passed, [1]);
});

test("wrong arguments are refused", () => {
  const { producing } = new Plant([written]);
  assert.throws(() => producing.put("", "x"), RangeError);
  assert.throws(() => producing.put("x".repeat(250), "x"), RangeError);
  assert.throws(() => producing.put("a", 5 as never), TypeError);
  assert.throws(() => producing.put("a", "x", { partition: -1 }), RangeError);
  assert.throws(() => producing.put("a", "x", { headers: [[5 as never, null]] }), TypeError);
});

test("BUSY: the same records again, in order, before those that came meanwhile", async () => {
  let second: Promise<unknown> | undefined;
  const busy: Reply = (request) => {
    second ??= Promise.resolve(plant.producing.put("out", "2"));
    return answer(request, ProduceOutcome.BUSY, 20);
  };
  const plant = new Plant([busy, busy, written]);
  const began = performance.now();
  await plant.producing.put("out", "1");
  await second;
  assert.deepEqual(plant.values(), [["1"], ["1"], ["1"], ["2"]]);
  assert.ok(performance.now() - began >= 38);
});

test("TOPIC_NOT_ALLOWED: the records of the other topics are sent again", async () => {
  const plant = new Plant([
    (request) =>
      answer(request, request.topics.includes("no") ? ProduceOutcome.TOPIC_NOT_ALLOWED : ProduceOutcome.WRITTEN),
  ]);
  const outcomes = await Promise.allSettled(["a", "no", "b"].map((topic) => plant.producing.put(topic, "x")));
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ["fulfilled", "rejected", "fulfilled"],
  );
  assert.equal(kindOf(outcomes[1]), "not_allowed");
});

test("a batch that is too large as a whole is sent in halves; a record that is, fails", async () => {
  const plant = new Plant([
    (request) => {
      if (request.values.some((value) => value.length > 1)) throw new TooLargeError("planned");
      return answer(request, ProduceOutcome.WRITTEN);
    },
  ]);
  const outcomes = await Promise.allSettled(["1", "22", "3"].map((value) => plant.producing.put("out", value)));
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ["fulfilled", "rejected", "fulfilled"],
  );
  assert.equal(kindOf(outcomes[1]), "too_large");
});

test("a broken call, an answer of another length and an unknown outcome have failed", async () => {
  const replies: Reply[] = [
    () => {
      throw new LinkError("planned");
    },
    () => create(ProduceResponseSchema, { outcomes: [ProduceOutcome.WRITTEN] }),
    (request) => answer(request, 99),
    (request) => answer(request, ProduceOutcome.UNSPECIFIED),
  ];
  for (const reply of replies) {
    const plant = new Plant([reply]);
    await assert.rejects(
      plant.producing.put("out", "x"),
      (error) => error instanceof ProduceError && error.kind === "failed",
    );
  }
});

test("much that waits stops the handlers until half of it is gone; far more fails", async () => {
  let release: (() => void) | undefined;
  const plant = new Plant([
    async (request) => {
      await new Promise<void>((resolve) => (release = resolve));
      return answer(request, ProduceOutcome.WRITTEN);
    },
    written,
  ]);
  const value = Buffer.alloc(1000 * 1000);
  const all = Array.from({ length: 67 }, () => plant.producing.put("out", value));
  await until(() => release !== undefined);
  assert.deepEqual(plant.full, [true]);
  await assert.rejects(plant.producing.put("out", value), /bytes wait already/);
  release?.();
  await Promise.all(all);
  await plant.producing.drained();
  assert.deepEqual(plant.full, [true, false]);
});

test("the end fails what has no outcome, and hands back the checkpoints that waited for it", async () => {
  const plant = new Plant([() => new Promise<never>(() => undefined)]);
  const outcome = plant.producing.put("out", "x");
  await until(() => plant.requests.length === 1);
  const queued = plant.producing.put("out", "y");
  plant.outcomes.admit(4);
  assert.deepEqual(plant.producing.end("over"), [4]);
  await assert.rejects(outcome, /over/);
  await assert.rejects(queued, /over/);
  await assert.rejects(plant.producing.put("out", "z"), { kind: "stale_lease" });
  await plant.producing.drained();
  assert.deepEqual([plant.passed, plant.failures], [[], []]);
});

test("checkpoints pass in their order as outcomes are known", async () => {
  let release: (() => void) | undefined;
  const slow: Reply = async (request) => {
    await new Promise<void>((resolve) => (release = resolve));
    return answer(request, ProduceOutcome.WRITTEN);
  };
  const plant = new Plant([slow, written]);
  const { producing, outcomes } = plant;
  outcomes.admit(1);
  void producing.put("out", "x");
  outcomes.admit(2);
  await until(() => release !== undefined);
  void producing.put("out", "y");
  outcomes.admit(3);
  outcomes.admit(2);
  assert.deepEqual(plant.passed, [1]);
  release?.();
  await outcomes.released();
  assert.deepEqual(plant.passed, [1, 2, 3]);
});

test("a failure that is received late releases the checkpoint that it held back", async () => {
  const plant = new Plant([(request) => answer(request, ProduceOutcome.FAILED)]);
  const outcome = plant.producing.put("out", "x");
  plant.outcomes.admit(7);
  await plant.producing.drained();
  await after(20);
  assert.deepEqual(plant.passed, []);
  await assert.rejects(outcome, /planned/);
  assert.deepEqual([plant.passed, plant.failures], [[7], []]);
});

test("a failure that holds back a checkpoint for a second fails the lambda; one that holds nothing back may wait", async () => {
  const failed: Reply = (request) => answer(request, ProduceOutcome.FAILED);
  const [holding, free] = [new Plant([failed]), new Plant([failed])];
  void holding.producing.put("out", "x");
  void free.producing.put("out", "x");
  holding.outcomes.admit(7);
  const began = performance.now();
  await until(() => holding.failures.length > 0);
  assert.ok(performance.now() - began > 950);
  assert.deepEqual([holding.passed, free.failures], [[], []]);
  free.outcomes.end();
});
