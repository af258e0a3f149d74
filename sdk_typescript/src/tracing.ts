/**
 * Traces of OpenTelemetry: a span for each frame and for each produced record, and handlers that run in the trace of
 * their message. Without a tracer provider no code of tracing runs for a record: that is decided once for each lease.
 *
 * `@opentelemetry/api` is an optional peer of this package, and loaded by `loadApi` alone.
 */

import type * as Api from "@opentelemetry/api";
import type { Columns } from "./batch.js";
import { isThenable } from "./dispatcher.js";
import { messageOf, ProduceError, stackOf, typeOf } from "./errors.js";
import type { Header, Message, ProduceOptions } from "./interfaces.js";
import type { Outcome, Settled } from "./outcomes.js";
import { VERSION } from "./version.js";

/** Links of a frame's span, to its first records. OpenTelemetry keeps so many by default. @internal */
export const MAX_LINKS = 128;

const READABLE = /^[\x20-\x7e]{1,8192}$/; // W3C's headers are no longer than that

type Handler = (message: Message) => unknown;
type Put = (topic: string, value: Uint8Array | string | null, options?: ProduceOptions) => Outcome;

/** Loads OpenTelemetry's API; undefined: it is not installed. @internal */
export async function loadApi(): Promise<typeof Api | undefined> {
  try {
    return await import("@opentelemetry/api");
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND") return undefined;
    throw error;
  }
}

/** Makes the tracing of a lease; undefined: the program has registered no tracer provider. @internal */
export function tracingOf(
  api: typeof Api | undefined,
  lambdaName: string,
  topic: string,
  partition: number,
  ended: AbortSignal,
): Tracing | undefined {
  if (api === undefined) return undefined;
  const provider = api.trace.getTracerProvider();
  const none = new api.ProxyTracerProvider().getDelegate();
  const isNone = provider instanceof api.ProxyTracerProvider && provider.getDelegate() === none;
  return isNone ? undefined : new Tracing(api, lambdaName, topic, partition, ended);
}

interface Frame {
  readonly last: number;
  readonly span: Api.Span;
  readonly context: Api.Context;
}

/** The spans of one lease. @internal */
export class Tracing {
  readonly #tracer: Api.Tracer;
  readonly #attributes: Api.Attributes;
  readonly #fields: ReadonlySet<string>;
  readonly #known = new WeakMap<readonly Header[], Api.Context>();
  #waiting: Columns[] = []; // frames of which no message was handled
  #frame: Frame | undefined;
  #isBusy = false; // a handler runs
  #isDropped = false; // what is left of the frame comes in another one, or to another lambda

  /** `ended`: what it is aborted with is no failure of a handler that throws it. */
  constructor(
    private readonly api: typeof Api,
    lambdaName: string,
    private readonly topic: string,
    partition: number,
    private readonly ended: AbortSignal,
  ) {
    this.#tracer = api.trace.getTracer("kafka-sidecar-sdk", VERSION);
    this.#fields = new Set(api.propagation.fields());
    this.#attributes = {
      "messaging.system": "kafka",
      "messaging.operation.name": "process",
      "messaging.operation.type": "process",
      "messaging.destination.name": topic,
      "messaging.destination.partition.id": String(partition),
      "kafka_sidecar.lambda": lambdaName,
    };
  }

  /** Notes a frame that waits. */
  put(columns: Columns): void {
    this.#waiting.push(columns);
  }

  /** Forgets the frames that wait, and what is left of the one that is handled. */
  drop(): void {
    this.#waiting = [];
    if (this.#isBusy) this.#isDropped = true;
    else this.#end();
  }

  /** Makes a handler that calls this one in the trace of its message, or else in the span of its frame. */
  handler(handler: Handler): Handler {
    return (message) => {
      const frame = this.#frameOf(message);
      this.#isBusy = true;
      const context = this.#contextOf(message.headers) ?? frame?.context ?? this.api.ROOT_CONTEXT;
      try {
        const result = this.api.context.with(context, handler, undefined, message);
        if (isThenable(result)) return this.#finish(result, message);
      } catch (error) {
        this.#failed(error, message);
        throw error;
      }
      this.#handled(message);
      return undefined;
    };
  }

  /** Makes a `produce` with a span for each record, whose context is in the record's headers. */
  produce(put: Put): Put {
    return (topic, value, options = {}) => {
      const span = this.#tracer.startSpan(`send ${topic}`, {
        kind: this.api.SpanKind.PRODUCER,
        attributes: {
          "messaging.system": "kafka",
          "messaging.operation.name": "send",
          "messaging.operation.type": "send",
          "messaging.destination.name": topic,
        },
      });
      const carrier: Record<string, string> = {};
      this.api.propagation.inject(this.api.trace.setSpan(this.api.context.active(), span), carrier);
      try {
        const own = options.headers === undefined ? [] : Array.from(options.headers);
        // What the lambda gives itself says which trace the record belongs to.
        const carried = own.some(([name]) => this.#fields.has(name)) ? [] : Object.entries(carrier);
        const outcome = put(topic, value, { ...options, headers: [...own, ...carried] });
        outcome.observe((settled) => {
          this.#produced(span, outcome.givenUp, settled);
        });
        return outcome;
      } catch (error) {
        this.#fail(span, error);
        span.end();
        throw error;
      }
    };
  }

  // ------------------------------------------------------------------------------------------------- frames

  /** Begins the span of the message's frame, if it is the first of it; undefined: the frame was dropped. */
  #frameOf(message: Message): Frame | undefined {
    const next = this.#waiting[0];
    if (next === undefined || message.offset < next.first) return this.#frame;
    this.#end();
    this.#waiting.shift();
    const { api } = this;
    const span = this.#tracer.startSpan(
      `process ${this.topic}`,
      {
        kind: api.SpanKind.CONSUMER,
        attributes: {
          ...this.#attributes,
          "messaging.batch.message_count": next.count,
          "kafka_sidecar.first_offset": next.first,
          "kafka_sidecar.last_offset": next.last,
        },
        links: this.#links(next),
      },
      api.ROOT_CONTEXT,
    );
    return (this.#frame = { last: next.last, span, context: api.trace.setSpan(api.ROOT_CONTEXT, span) });
  }

  async #finish(pending: PromiseLike<unknown>, message: Message): Promise<void> {
    try {
      await pending;
    } catch (error) {
      this.#failed(error, message);
      throw error;
    }
    this.#handled(message);
  }

  #handled(message: Message): void {
    this.#isBusy = false;
    if (this.#isDropped || message.offset === this.#frame?.last) this.#end();
  }

  #failed(error: unknown, message: Message): void {
    const span = this.#frame?.span;
    if (span !== undefined && !(this.ended.aborted && error === this.ended.reason)) {
      span.addEvent("exception", {
        "exception.type": typeOf(error),
        "exception.message": messageOf(error),
        "exception.stacktrace": stackOf(error),
        "messaging.kafka.offset": message.offset,
      });
      this.#fail(span, error);
    }
    this.#end();
  }

  #end(): void {
    this.#isBusy = this.#isDropped = false;
    this.#frame?.span.end();
    this.#frame = undefined;
  }

  // ----------------------------------------------------------------------------------------------- contexts

  /** The context that these headers carry. Of a name that is there twice, the last one counts. */
  #contextOf(headers: readonly Header[]): Api.Context | undefined {
    if (headers.length === 0) return undefined;
    let context = this.#known.get(headers);
    if (context === undefined) {
      context = this.#extracted(headers);
      this.#known.set(headers, context); // for the handler, after the links of the frame
    }
    return context === this.api.ROOT_CONTEXT ? undefined : context;
  }

  #extracted(headers: readonly Header[]): Api.Context {
    const root = this.api.ROOT_CONTEXT;
    const own = headers.filter(([name, value]) => this.#fields.has(name) && READABLE.test(String(value)));
    if (own.length === 0) return root;
    try {
      return this.api.propagation.extract(root, Object.fromEntries(own.map(([name, value]) => [name, String(value)])));
    } catch {
      return root; // whoever writes to the topic must not stop its partition
    }
  }

  #links(columns: Columns): Api.Link[] {
    const links = new Map<string, Api.Link>();
    for (const headers of columns.firstHeaders(MAX_LINKS)) {
      const carried = this.#contextOf(headers);
      const context = carried === undefined ? undefined : this.api.trace.getSpanContext(carried);
      if (context !== undefined && this.api.isSpanContextValid(context)) {
        links.set(`${context.traceId}-${context.spanId}`, { context });
      }
    }
    return [...links.values()];
  }

  // ------------------------------------------------------------------------------------------------ produce

  #produced(span: Api.Span, isGivenUp: boolean, settled: Settled): void {
    if ("value" in settled) {
      span.setAttribute("messaging.destination.partition.id", String(settled.value.partition));
      span.setAttribute("messaging.kafka.offset", settled.value.offset);
    } else if (!isGivenUp) {
      this.#fail(span, settled.error);
    }
    span.end();
  }

  #fail(span: Api.Span, error: unknown): void {
    span.setAttribute("error.type", error instanceof ProduceError ? error.kind : typeOf(error));
    span.setStatus({ code: this.api.SpanStatusCode.ERROR, message: messageOf(error) });
  }
}
