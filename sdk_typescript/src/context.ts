/** The `IContext` of one partition's lambda: it checks what the lambda says, and passes it on. */

import type { Committed } from "./committed.js";
import type { Guarantee, IContext, IContextErrorData, ILogger, Produced, ProduceOptions } from "./interfaces.js";
import { checkedCount } from "./limits.js";
import type { PauseGate } from "./pause_gate.js";
import type { Producing } from "./producing.js";
import type { LeaseProgress } from "./progress.js";
import { ErrorAction } from "./protocol/lambda_pb.js";
import type { Failure } from "./reporting.js";
import type { Signs } from "./signs.js";
import type { Tracing } from "./tracing.js";

/** What the context says of the partition. @internal */
export interface Lease {
  readonly topic: string;
  readonly partition: number;
  readonly lane: number;
  /** At least 1. */
  readonly lanes: number;
  readonly lease: string;
  readonly startOffset: number | undefined;
  readonly attempt: number;
  readonly state: Buffer;
}

/** The name of what a lease has: its partition and, where that has several, its lane. @internal */
export function placeOf({ topic, partition, lane, lanes }: Omit<Lease, "lease">): string {
  return `${topic}/${String(partition)}${lanes > 1 ? ` lane ${String(lane)}` : ""}`;
}

/** What a context passes on to. @internal */
export interface Parts {
  readonly progress: LeaseProgress;
  readonly gate: PauseGate;
  readonly producing: Producing;
  readonly committed: Committed;
  readonly signs: Signs;
  /** How long a state may be, in bytes. */
  readonly maxStateBytes: number;
  readonly onFailure: (failure: Failure) => void;
  readonly onReport: (failure: Failure) => void;
  readonly tracing: Tracing | undefined;
}

/** @internal */
export class PartitionContext implements IContext {
  readonly topic: string;
  readonly partition: number;
  readonly lane: number;
  readonly lanes: number;
  readonly lease: string;
  readonly startOffset: number | undefined;
  readonly attempt: number;
  readonly state: Buffer;
  readonly #parts: Parts;
  readonly #put: Producing["put"];

  constructor(
    lease: Lease,
    parts: Parts,
    readonly guarantee: Guarantee,
    readonly signal: AbortSignal,
    readonly log: ILogger,
  ) {
    this.topic = lease.topic;
    this.partition = lease.partition;
    this.lane = lease.lane;
    this.lanes = lease.lanes;
    this.state = lease.state;
    this.lease = lease.lease;
    this.startOffset = lease.startOffset;
    this.attempt = lease.attempt;
    this.#parts = parts;
    const put = parts.producing.put.bind(parts.producing);
    this.#put = parts.tracing?.produce(put) ?? put;
  }

  checkpoint(queuedMessage: { readonly offset: number } | number, state?: Uint8Array | string | boolean): void {
    const offset = typeof queuedMessage === "number" ? queuedMessage : queuedMessage.offset;
    if (state === undefined || typeof state === "boolean") this.#parts.progress.checkpoint(offset);
    else this.#parts.progress.checkpoint(offset, this.#checkedState(state));
  }

  committed(offset: number): Promise<void> {
    return this.#parts.committed.until(offset);
  }

  progress(text = ""): void {
    this.#parts.signs.give(text);
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
    progress.isSpaced = this.guarantee === "exactly-once";
    return this.#put(topic, value, options);
  }

  completedBeyond(count: number, bytes: number): void {
    this.#parts.progress.completedBeyond(count, bytes);
  }

  skipped(count: number, skipping: readonly string[] = [], skippingCount = skipping.length): void {
    this.#parts.progress.skipped(count, skipping, skippingCount);
  }

  /** Returns a copy of a state, since it may be sent later. */
  #checkedState(state: Uint8Array | string): Buffer {
    if (typeof state !== "string" && !(state instanceof Uint8Array)) {
      throw new TypeError(`checkpoint(state): bytes or a text, got ${typeof state}`);
    }
    const bytes = Buffer.from(state as Uint8Array);
    const most = this.#parts.maxStateBytes;
    if (bytes.length <= most) return bytes;
    const keeps = most > 0 ? `at most ${String(most)}` : "none (at most 0)";
    throw new RangeError(`checkpoint(state): ${String(bytes.length)} bytes, and the sidecar keeps ${keeps}`);
  }
}

function failureOf(error: unknown, action: ErrorAction, offset: number | undefined): Failure {
  if (offset !== undefined) checkedCount("offset", offset);
  return { kind: "failed", error, action, offset, code: "lambda_error" };
}
