/** The columns of a `FakeSidecar`: of the records that it delivers, and of those that a lambda produced. */

import type { MessageInitShape } from "@bufbuild/protobuf";
import { nameBytes, nameText } from "./header_names.js";
import { TimestampType, type BatchSchema, type ProduceRequest } from "./protocol/lambda_pb.js";
import type { FakeRecord, Sent } from "./testing.js";

/** Makes the frame of one record. @internal */
export function batchOf(record: Required<FakeRecord>): MessageInitShape<typeof BatchSchema> {
  const { offset, timestamp, key, value, headers } = record;
  return {
    firstOffset: BigInt(offset),
    timestamps: [BigInt(timestamp)],
    timestampType: timestamp < 0 ? TimestampType.UNSPECIFIED : TimestampType.CREATE_TIME,
    keys: key === null ? [] : [bytes(key)],
    values: [bytes(value ?? "")],
    nullValues: value === null ? [0] : [],
    headerCounts: headers.length > 0 ? [headers.length] : [],
    headerNames: headers.map(([name]) => Buffer.from(nameBytes(name))),
    headerValues: headers.map(([, content]) => content ?? Buffer.alloc(0)),
    nullHeaderValues: headers.flatMap(([, content], index) => (content === null ? [index] : [])),
  };
}

/** Makes the records of a request from its columns. @internal */
export function sentOf(request: ProduceRequest): Sent[] {
  let header = 0;
  return request.values.map((value, index) => {
    const key = request.keys[index];
    const partition = request.partitions[index] ?? -1;
    const source = Number(request.sources[index] ?? -1);
    const headers = Array.from({ length: request.headerCounts[index] ?? 0 }, () => {
      const at = header++;
      const content = request.nullHeaderValues.includes(at) ? null : bytes(request.headerValues[at] ?? "");
      return [nameText(bytes(request.headerNames[at] ?? "")), content] as const;
    });
    return {
      topic: request.topics[request.topicIndexes[index] ?? 0] ?? "",
      value: request.nullValues.includes(index) ? null : bytes(value),
      key: key === undefined || request.nullKeys.includes(index) ? null : bytes(key),
      headers,
      partition: partition < 0 ? undefined : partition,
      source: source < 0 ? undefined : source,
    };
  });
}

function bytes(data: Uint8Array | string): Buffer {
  return Buffer.from(data);
}
