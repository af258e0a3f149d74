import { create } from "@bufbuild/protobuf";
import { context, propagation, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
  type ReadableSpan,
} from "@opentelemetry/sdk-trace-base";
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { Columns } from "../src/batch.js";
import { Dispatcher } from "../src/dispatcher.js";
import type { Header, IContext, Message } from "../src/interfaces.js";
import { LeaseProgress } from "../src/progress.js";
import { BatchSchema } from "../src/protocol/lambda_pb.js";
import { FakeSidecar } from "../src/testing.js";
import { Turns } from "../src/timing.js";
import { loadApi, MAX_LINKS, Tracing, tracingOf } from "../src/tracing.js";
import { noSink } from "./helpers.js";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const PARENT = "b7ad6b7169203331";
const exporter = new InMemorySpanExporter();

beforeEach(() => {
  exporter.reset();
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
});

afterEach(() => {
  trace.disable();
  propagation.disable();
  context.disable();
});

function traceparent(traceId = TRACE, flags = "01"): Header {
  return ["traceparent", Buffer.from(`00-${traceId}-${PARENT}-${flags}`)];
}

function aTrace(number: number): string {
  return number.toString(16).padStart(32, "0");
}

function named(name: string): ReadableSpan[] {
  return exporter.getFinishedSpans().filter((span) => span.name === name);
}

function one(name: string): ReadableSpan {
  const found = named(name);
  assert.equal(found.length, 1, name);
  return found[0]!;
}

function work(message: Message): void {
  trace
    .getTracer("the author's")
    .startSpan(`work ${String(message.offset)}`)
    .end();
}

/** One frame with so many records, each with a trace of its own. */
function frameOf(count: number): Columns {
  const numbers = Array.from({ length: count }, (_, index) => index);
  const batch = create(BatchSchema, {
    values: numbers.map(() => Buffer.from("x")),
    headerCounts: numbers.map(() => 1),
    headerNames: numbers.map(() => Buffer.from("traceparent")),
    headerValues: numbers.map((number) => traceparent(aTrace(number + 1))[1]!),
  });
  return new Columns(batch, "t", 3);
}

/** A dispatcher with tracing, which has a frame of so many messages. */
async function traced(count: number): Promise<Dispatcher> {
  const tracing = tracingOf(await loadApi(), "words", "t", 3, new AbortController().signal);
  assert.ok(tracing instanceof Tracing);
  const dispatcher = new Dispatcher(new LeaseProgress("lease", 1000, 0, noSink), new Turns(), tracing);
  dispatcher.put(frameOf(count));
  return dispatcher;
}

test("a frame has a span with what it held, and links to its first records", async () => {
  const dispatcher = await traced(MAX_LINKS + 2);
  const running = dispatcher.run(() => undefined);
  await dispatcher.idle();
  dispatcher.stop();
  await running;
  const span = one("process t");
  assert.equal(span.kind, SpanKind.CONSUMER);
  assert.equal(span.parentSpanContext, undefined);
  assert.deepEqual(span.attributes, {
    "messaging.system": "kafka",
    "messaging.operation.name": "process",
    "messaging.operation.type": "process",
    "messaging.destination.name": "t",
    "messaging.destination.partition.id": "3",
    "messaging.batch.message_count": MAX_LINKS + 2,
    "kafka_sidecar.lambda": "words",
    "kafka_sidecar.first_offset": 0,
    "kafka_sidecar.last_offset": MAX_LINKS + 1,
  });
  assert.deepEqual(
    span.links.map((link) => link.context.traceId),
    Array.from({ length: MAX_LINKS }, (_, index) => aTrace(index + 1)),
  );
});

test("a frame that is dropped ends its span when the running handler has returned", async () => {
  const dispatcher = await traced(3);
  await dispatcher.run(async () => {
    dispatcher.stop();
    assert.equal(named("process t").length, 0);
    await after(1);
  });
  assert.equal(named("process t").length, 1);
});

for (const [kind, handler] of [
  ["sync", work],
  [
    "async",
    async (message: Message): Promise<void> => {
      await after(1);
      work(message);
    },
  ],
] as const) {
  test(`a handler runs in the trace of its message: ${kind}`, async () => {
    const sidecar = await FakeSidecar.start(handler);
    await sidecar.feed({ value: "a", headers: [traceparent()] });
    await sidecar.feed({ value: "b", headers: [traceparent(aTrace(7))] }, "c");
    assert.equal(context.active(), ROOT_CONTEXT);
    const [first, second, third] = [0, 1, 2].map((offset) => one(`work ${String(offset)}`));
    assert.equal(first!.spanContext().traceId, TRACE);
    assert.equal(first!.parentSpanContext?.spanId, PARENT);
    assert.equal(second!.spanContext().traceId, aTrace(7));
    assert.equal(third!.parentSpanContext?.spanId, named("process test")[2]!.spanContext().spanId);
    await sidecar.stop();
  });
}

function passOn(message: Message, context: IContext): void {
  void context.produce("out", message.value, { headers: [["a", "1"]] });
  context.checkpoint(message);
}

test("a produced record carries the trace on", async () => {
  const sidecar = await FakeSidecar.start(passOn);
  await sidecar.feed({ value: "a", headers: [traceparent()] });
  const span = one("send out");
  assert.equal(span.kind, SpanKind.PRODUCER);
  assert.equal(span.spanContext().traceId, TRACE);
  assert.equal(span.parentSpanContext?.spanId, PARENT);
  assert.equal(span.attributes["messaging.kafka.offset"], 0);
  assert.deepEqual(
    sidecar.sent[0]!.headers.map(([name, value]) => [name, String(value)]),
    [
      ["a", "1"],
      ["traceparent", `00-${TRACE}-${span.spanContext().spanId}-01`],
    ],
  );
  await sidecar.stop();
});

test("the context that the lambda sets itself is kept, also from headers that can be read once", async () => {
  function* headers(): Generator<Header> {
    yield traceparent(aTrace(5));
  }
  const sidecar = await FakeSidecar.start((_, context) => {
    void context.produce("out", "x", { headers: headers() });
  });
  await sidecar.feed({ value: "a", headers: [traceparent()] });
  assert.deepEqual(
    sidecar.sent[0]!.headers.map(([, value]) => String(value)),
    [String(traceparent(aTrace(5))[1])],
  );
  assert.equal(one("send out").spanContext().traceId, TRACE);
  await sidecar.stop();
});

test("a trace that is not sampled is carried on as such", async () => {
  const sidecar = await FakeSidecar.start(passOn);
  await sidecar.feed({ value: "a", headers: [traceparent(TRACE, "00")] });
  const carried = String(sidecar.sent[0]!.headers[1]![1]);
  assert.match(carried, new RegExp(`^00-${TRACE}-[0-9a-f]{16}-00$`));
  assert.equal(named("send out").length, 0);
  await sidecar.stop();
});

test("a failure is in the span, and is not received by that", async () => {
  const sidecar = await FakeSidecar.start(passOn);
  sidecar.produceError = "the broker is away";
  await sidecar.feed("a");
  await sidecar.ended();
  const span = one("send out");
  assert.equal(span.status.code, SpanStatusCode.ERROR);
  assert.equal(span.attributes["error.type"], "failed");
  assert.deepEqual(
    sidecar.errors.map(({ code }) => code),
    ["produce_failed"],
  );
  assert.deepEqual(sidecar.checkpoints, []);
});

test("a handler that throws fails the span of its frame", async () => {
  const sidecar = await FakeSidecar.start(() => {
    throw new RangeError("planned");
  });
  await sidecar.feed("a");
  const span = one("process test");
  assert.equal(span.status.code, SpanStatusCode.ERROR);
  assert.equal(span.attributes["error.type"], "RangeError");
  assert.equal(span.events[0]!.attributes!["messaging.kafka.offset"], 0);
});

test("arguments that are no record are refused as without tracing", async () => {
  const refused: unknown[] = [];
  const sidecar = await FakeSidecar.start((_, context) => {
    for (const [topic, value, headers] of [
      [1, "x", []],
      ["out", 1, []],
      ["out", "x", [[1, "x"]]],
    ]) {
      try {
        void context.produce(topic as string, value as string, { headers: headers as never });
      } catch (error) {
        refused.push(error);
      }
    }
  });
  await sidecar.feed("a");
  assert.ok(refused.every((error) => error instanceof TypeError));
  assert.equal(refused.length, 3);
  assert.deepEqual(sidecar.sent, []);
  await sidecar.stop();
});

test("whatever the headers hold, the handler is called", async () => {
  const values = ["", "00", "00-0-0-0", `00-${TRACE}-${PARENT}-zz`, "\u0000", "x".repeat(100_000), null];
  let count = 0;
  const sidecar = await FakeSidecar.start(() => {
    count += 1;
  });
  for (const value of values)
    await sidecar.feed({ value: "a", headers: [["traceparent", value === null ? null : Buffer.from(value)]] });
  propagation.disable();
  propagation.setGlobalPropagator({
    fields: () => ["traceparent"],
    inject: () => undefined,
    extract: () => {
      throw new Error("broken");
    },
  });
  await sidecar.restart();
  await sidecar.feed({ value: "a", headers: [traceparent()] });
  assert.ok(count > values.length);
  assert.deepEqual(sidecar.errors, []);
  await sidecar.stop();
});

test("without a tracer provider nothing is in between", async () => {
  trace.disable();
  assert.equal(tracingOf(await loadApi(), "words", "t", 0, new AbortController().signal), undefined);
  assert.equal(tracingOf(undefined, "words", "t", 0, new AbortController().signal), undefined);
  const sidecar = await FakeSidecar.start(passOn);
  await sidecar.feed({ value: "a", headers: [traceparent()] });
  assert.deepEqual(
    sidecar.sent[0]!.headers.map(([name]) => name),
    ["a"],
  );
  await sidecar.stop();
});
