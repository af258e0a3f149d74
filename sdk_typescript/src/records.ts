/** A record to produce: its check, its size on the wire, and the columns of a request. */

import { create } from "@bufbuild/protobuf";
import { clip } from "./errors.js";
import { nameBytes } from "./header_names.js";
import type { ProduceOptions } from "./interfaces.js";
import { checkedCount } from "./limits.js";
import type { Outcome } from "./outcomes.js";
import { ProduceRequestSchema, type ProduceRequest } from "./protocol/lambda_pb.js";

const MAX_TOPIC_BYTES = 249; // Kafka takes no longer name
const OVERHEAD_BYTES = 32; // of a record, or of a header, on the wire
const EMPTY = new Uint8Array(0);

/** A record on its way. @internal */
export interface Waiting {
  readonly topic: string;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers: readonly (readonly [name: Uint8Array, value: Uint8Array | null])[];
  /** -1: by the key. */
  readonly partition: number;
  /** The offset of the message from which it was made; -1: not named. */
  readonly source: number;
  readonly size: number;
  readonly outcome: Outcome;
}

/** Makes a record of what the lambda said. Throws `TypeError` or `RangeError` when it is none. @internal */
export function checkedRecord(
  topic: string,
  value: Uint8Array | string | null,
  options: ProduceOptions,
  outcome: Outcome,
): Waiting {
  if (typeof topic !== "string") throw new TypeError(`produce(topic): a text, got ${typeof topic}`);
  if (topic === "" || Buffer.byteLength(topic) > MAX_TOPIC_BYTES) {
    throw new RangeError(
      `produce(topic): a name has 1 to ${String(MAX_TOPIC_BYTES)} bytes, got ${JSON.stringify(clip(topic, 50))}`,
    );
  }
  const partition = options.partition ?? -1;
  if (!Number.isInteger(partition) || partition < -1 || partition >= 2 ** 31 || options.partition === -1) {
    throw new RangeError(`produce(partition): from 0 to 2147483647, got ${String(options.partition)}`);
  }
  const source = options.source === undefined ? -1 : checkedCount("produce(source)", options.source);
  const key = bytesOf("key", options.key ?? null);
  const data = bytesOf("value", value);
  const headers = headersOf(options.headers);
  let size = OVERHEAD_BYTES + (key?.length ?? 0) + (data?.length ?? 0);
  for (const [name, content] of headers) size += OVERHEAD_BYTES + name.length + (content?.length ?? 0);
  return { topic, key, value: data, headers, partition, source, size, outcome };
}

function headersOf(headers: ProduceOptions["headers"]): Waiting["headers"] {
  if (headers === undefined) return [];
  return Array.from(headers, ([name, value]) => {
    if (typeof name !== "string") throw new TypeError(`produce(headers): a name is a text, got ${typeof name}`);
    return [nameBytes(name), bytesOf("headers", value)] as const;
  });
}

function bytesOf(what: string, value: unknown): Uint8Array | null {
  if (value === null || value instanceof Uint8Array) return value;
  if (typeof value === "string") return Buffer.from(value);
  throw new TypeError(`produce(${what}): bytes, a text or null, got ${typeof value}`);
}

/**
 * Makes the columns of these records. Columns that are all empty are left out. `exactlyOnce`: with their sources, which
 * only that guarantee has. @internal
 */
export function requestOf(lease: string, batch: readonly Waiting[], exactlyOnce = false): ProduceRequest {
  const topics = [...new Set(batch.map(({ topic }) => topic))];
  const request = create(ProduceRequestSchema, { lease, topics });
  request.values = filled(batch.map(({ value }) => value));
  request.nullValues = nulls(batch.map(({ value }) => value));
  if (topics.length > 1) {
    const indexes = new Map(topics.map((topic, index) => [topic, index]));
    request.topicIndexes = batch.map(({ topic }) => indexes.get(topic) ?? 0);
  }
  if (batch.some(({ key }) => key !== null)) {
    request.keys = filled(batch.map(({ key }) => key));
    request.nullKeys = nulls(batch.map(({ key }) => key));
  }
  if (batch.some(({ partition }) => partition >= 0)) request.partitions = batch.map(({ partition }) => partition);
  if (exactlyOnce && batch.some(({ source }) => source >= 0))
    request.sources = batch.map(({ source }) => BigInt(source));
  const headers = batch.flatMap((record) => record.headers);
  if (headers.length > 0) {
    request.headerCounts = batch.map((record) => record.headers.length);
    request.headerNames = headers.map(([name]) => name);
    request.headerValues = filled(headers.map(([, value]) => value));
    request.nullHeaderValues = nulls(headers.map(([, value]) => value));
  }
  return request;
}

function filled(column: readonly (Uint8Array | null)[]): Uint8Array[] {
  return column.map((entry) => entry ?? EMPTY);
}

function nulls(column: readonly (Uint8Array | null)[]): number[] {
  return column.flatMap((entry, index) => (entry === null ? [index] : []));
}
