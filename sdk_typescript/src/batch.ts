/** A frame's columns, read as messages one at a time. */

import { FrameError } from "./errors.js";
import { nameText } from "./header_names.js";
import type { Header, Message } from "./interfaces.js";
import { exact } from "./limits.js";
import { TimestampType, type Batch } from "./protocol/lambda_pb.js";

const TYPES = {
  [TimestampType.UNSPECIFIED]: undefined,
  [TimestampType.CREATE_TIME]: "create",
  [TimestampType.LOG_APPEND_TIME]: "append",
} as const;
const NO_HEADERS: readonly Header[] = Object.freeze([]);

/**
 * The messages of one frame. Frames come over a socket, so each column is checked once against the number of records,
 * and no code after this meets a column that is too short. @internal
 */
export class Columns {
  readonly count: number;
  readonly first: number;
  readonly last: number;
  /** Bytes of keys and values, about those of the frame. */
  readonly size: number;
  readonly #type: Message["timestampType"];
  readonly #nullKeys: ReadonlySet<number> | undefined;
  readonly #nullValues: ReadonlySet<number> | undefined;
  readonly #headers: readonly (readonly Header[])[] | undefined;

  /** Throws `FrameError` when the columns do not fit together. */
  constructor(
    private readonly batch: Batch,
    private readonly topic: string,
    private readonly partition: number,
  ) {
    const count = batch.values.length;
    this.count = count;
    for (const name of ["offsets", "timestamps", "keys", "headerCounts"] as const) {
      const { length } = batch[name];
      if (length !== 0 && length !== count) {
        throw new FrameError(`Batch.${name} has ${String(length)} entries for ${String(count)} records`);
      }
    }
    this.#nullKeys = indexes("null_keys", batch.nullKeys, batch.keys.length);
    this.#nullValues = indexes("null_values", batch.nullValues, count);
    this.first = exact(batch.firstOffset, "Batch.first_offset");
    this.last = batch.offsets.length > 0 ? lastOf(batch) : this.first + (count - 1); // in this order: near 2^53 another one rounds
    if (this.first < 0) throw new FrameError(`Batch.first_offset is ${String(this.first)}`);
    if (!Number.isSafeInteger(this.last)) throw new FrameError("Batch.first_offset: the offsets exceed 2^53");
    this.#type = TYPES[batch.timestampType];
    this.#headers = headersOf(batch);
    this.size = lengthOf(batch.keys) + lengthOf(batch.values);
  }

  offset(index: number): number {
    return this.batch.offsets.length > 0 ? Number(this.batch.offsets[index]) : this.first + index;
  }

  /** The headers of each of the first records; nothing where no record of the frame has any. */
  firstHeaders(limit: number): readonly (readonly Header[])[] {
    return this.#headers?.slice(0, limit) ?? [];
  }

  message(index: number): Message {
    const { batch } = this;
    const stamp = this.#type === undefined ? undefined : batch.timestamps[index];
    const key = batch.keys[index];
    return {
      topic: this.topic,
      partition: this.partition,
      offset: this.offset(index),
      value: this.#nullValues?.has(index) === true ? null : (batch.values[index] as Buffer),
      timestamp: stamp === undefined || stamp < 0n ? undefined : Number(stamp),
      key: key === undefined || this.#nullKeys?.has(index) === true ? null : (key as Buffer),
      headers: this.#headers?.[index] ?? NO_HEADERS,
      timestampType: this.#type,
    };
  }
}

function lengthOf(column: readonly Uint8Array[]): number {
  let sum = 0;
  for (const { length } of column) sum += length;
  return sum;
}

function lastOf({ offsets, firstOffset }: Batch): number {
  if (
    offsets[0] !== firstOffset ||
    offsets.some((offset, index) => index > 0 && offset <= (offsets[index - 1] ?? 0n))
  ) {
    throw new FrameError("Batch.offsets do not ascend from first_offset");
  }
  return exact(offsets[offsets.length - 1] ?? firstOffset, "Batch.offsets");
}

function indexes(name: string, nulls: readonly number[], length: number): ReadonlySet<number> | undefined {
  const beyond = nulls.find((index) => index >= length);
  if (beyond !== undefined) throw new FrameError(`Batch.${name} names entry ${String(beyond)} of ${String(length)}`);
  return nulls.length > 0 ? new Set(nulls) : undefined;
}

function headersOf(batch: Batch): Header[][] | undefined {
  const { headerCounts, headerNames, headerValues } = batch;
  const count = headerNames.length;
  if (headerCounts.reduce((sum, one) => sum + one, 0) !== count || headerValues.length !== count) {
    throw new FrameError("Batch.header_counts, header_names and header_values do not fit together");
  }
  const nulls = indexes("null_header_values", batch.nullHeaderValues, count);
  if (count === 0) return undefined;
  let next = 0;
  return headerCounts.map((some) =>
    Array.from({ length: some }, () => {
      const index = next++;
      const value = nulls?.has(index) === true ? null : (headerValues[index] as Buffer);
      return [nameText(headerNames[index] as Buffer), value] as const;
    }),
  );
}
