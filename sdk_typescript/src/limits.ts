/** How much the sidecar takes in one call, as its Welcome says; numbers of the wire and of the lambda. */

import { FrameError } from "./errors.js";
import type { Limits as Told } from "./protocol/lambda_pb.js";

/** The limits that this client keeps to. @internal */
export interface Limits {
  readonly requestBytes: number;
  readonly checkpointEntries: number;
  readonly produceRecords: number;
  readonly produceTopics: number;
  readonly closeTimeoutMs: number;
}

/** Returns the limits of a Welcome, with a default for each that the sidecar does not tell. @internal */
export function limitsOf(told: Told | undefined): Limits {
  return {
    requestBytes: told?.maxRequestBytes || 1024 * 1024,
    checkpointEntries: told?.maxCheckpointEntries || 10_000,
    produceRecords: told?.maxProduceRecords || 10_000,
    produceTopics: told?.maxProduceTopics || 100,
    closeTimeoutMs: told?.closeTimeoutMs || 10_000,
  };
}

/** Returns a number of the wire. Throws `FrameError` where JavaScript's numbers are not exact, from 2^53 on. @internal */
export function exact(value: bigint, field: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) {
    throw new FrameError(
      `${field} is ${String(value)}: this SDK takes numbers up to ${String(Number.MAX_SAFE_INTEGER)}`,
    );
  }
  return number;
}

/** Checks an argument. Throws `TypeError` or `RangeError`. @internal */
export function checkedCount(name: string, value: unknown): number {
  if (typeof value !== "number" || !Number.isInteger(value)) {
    throw new TypeError(`${name}: a whole number, got ${typeof value === "number" ? String(value) : typeof value}`);
  }
  if (value < 0 || value > Number.MAX_SAFE_INTEGER) {
    throw new RangeError(`${name}: from 0 to ${String(Number.MAX_SAFE_INTEGER)}, got ${String(value)}`);
  }
  return value;
}

/** The name of an enum's value; the number where a newer sidecar has one that is unknown here. @internal */
export function nameOf(names: Readonly<Record<number, string>>, value: number): string {
  return names[value] ?? String(value);
}
