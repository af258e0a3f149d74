/** The `IContext` of one partition's lambda: it checks what the lambda says, and passes it on. */

import type { IContext, IContextErrorData, ILogger, Produced, ProduceOptions } from "./interfaces.js";
import { checkedCount } from "./limits.js";
import type { PauseGate } from "./pause_gate.js";
import type { Producing } from "./producing.js";
import type { LeaseProgress } from "./progress.js";
import { ErrorAction } from "./protocol/lambda_pb.js";
import type { Failure } from "./reporting.js";
import type { Tracing } from "./tracing.js";

/** What the context says of the partition. @internal */
export interface Lease {
  readonly topic: string;
  readonly partition: number;
  readonly lease: string;
  readonly startOffset: number | undefined;
  readonly attempt: number;
}

/** What a context passes on to. @internal */
export interface Parts {
  readonly progress: LeaseProgress;
  readonly gate: PauseGate;
  readonly producing: Producing;
  readonly onFailure: (failure: Failure) => void;
  readonly onReport: (failure: Failure) => void;
  readonly tracing: Tracing | undefined;
}

/** @internal */
export class PartitionContext implements IContext {
  readonly topic: string;
  readonly partition: number;
  readonly lease: string;
  readonly startOffset: number | undefined;
  readonly attempt: number;
  readonly #parts: Parts;
  readonly #put: Producing["put"];

  constructor(
    lease: Lease,
    parts: Parts,
    readonly signal: AbortSignal,
    readonly log: ILogger,
  ) {
    this.topic = lease.topic;
    this.partition = lease.partition;
    this.lease = lease.lease;
    this.startOffset = lease.startOffset;
    this.attempt = lease.attempt;
    this.#parts = parts;
    const put = parts.producing.put.bind(parts.producing);
    this.#put = parts.tracing?.produce(put) ?? put;
  }

  checkpoint(queuedMessage: { readonly offset: number } | number): void {
    this.#parts.progress.checkpoint(typeof queuedMessage === "number" ? queuedMessage : queuedMessage.offset);
  }

  error(error: unknown, errorData: IContextErrorData): void {
    const { restart } = errorData;
    if (typeof restart !== "boolean") throw new TypeError("error(error, { restart }): restart is true or false");
    const action = restart ? ErrorAction.RESTART : ErrorAction.CRITICAL;
    const offset = errorData.offset ?? errorData.markAsCorrupt?.offset;
    this.#parts.onFailure(failureOf(error, action, offset));
  }

  report(error: unknown, offset?: number): void {
    this.#parts.onReport(failureOf(error, ErrorAction.REPORT, offset));
  }

  pause(offset?: number, reason?: unknown, retryAfterMs?: number): void {
    this.#parts.gate.pause(offset, reason, retryAfterMs);
  }

  resume(): void {
    this.#parts.gate.resume();
  }

  produce(topic: string, value: Uint8Array | string | null, options?: ProduceOptions): Promise<Produced> {
    const { progress, producing } = this.#parts;
    progress.outcomes = producing.outcomes;
    return this.#put(topic, value, options);
  }

  completedBeyond(count: number, bytes: number): void {
    this.#parts.progress.completedBeyond(count, bytes);
  }

  skipped(count: number, skipping: readonly string[] = [], skippingCount = skipping.length): void {
    this.#parts.progress.skipped(count, skipping, skippingCount);
  }
}

function failureOf(error: unknown, action: ErrorAction, offset: number | undefined): Failure {
  if (offset !== undefined) checkedCount("offset", offset);
  return { kind: "failed", error, action, offset, code: "lambda_error" };
}
