import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { Columns } from "../src/batch.js";
import { nameBytes, nameText } from "../src/header_names.js";
import { BatchSchema, HostFrameSchema, TimestampType } from "../src/protocol/lambda_pb.js";

function columns(init: MessageInitShape<typeof BatchSchema>): Columns {
  const frame = create(HostFrameSchema, { frame: { case: "batch", value: init } });
  const parsed = fromBinary(HostFrameSchema, Buffer.from(toBinary(HostFrameSchema, frame)));
  assert.ok(parsed.frame.case === "batch");
  return new Columns(parsed.frame.value, "words", 3);
}

const bytes = (...texts: string[]): Buffer[] => texts.map((text) => Buffer.from(text));

test("a message carries all that its record has", () => {
  const batch = columns({
    firstOffset: 0n,
    timestamps: [1_700_000_000_000n, -1n],
    timestampType: TimestampType.LOG_APPEND_TIME,
    keys: bytes("k", ""),
    nullKeys: [1],
    values: bytes("", ""),
    nullValues: [1],
    headerCounts: [0, 2],
    headerNames: bytes("a", "a"),
    headerValues: bytes("", "x"),
    nullHeaderValues: [0],
  });
  assert.equal(batch.size, 1); // without headers
  assert.deepEqual(batch.message(0), {
    topic: "words",
    partition: 3,
    offset: 0,
    value: Buffer.alloc(0),
    timestamp: 1_700_000_000_000,
    key: Buffer.from("k"),
    headers: [],
    timestampType: "append",
  });
  const second = batch.message(1);
  assert.equal(second.offset, 1);
  assert.equal(second.value, null);
  assert.equal(second.key, null);
  assert.equal(second.timestamp, undefined);
  assert.deepEqual(second.headers, [
    ["a", null],
    ["a", Buffer.from("x")],
  ]);
  assert.ok(Buffer.isBuffer(batch.message(0).value));
});

test("offsets may have gaps", () => {
  const batch = columns({ firstOffset: 5n, offsets: [5n, 9n], values: bytes("a", "b") });
  assert.deepEqual([batch.first, batch.last, batch.message(1).offset], [5, 9, 9]);
  assert.equal(batch.message(0).timestamp, undefined);
  assert.equal(batch.message(0).key, null);
});

test("a frame whose columns do not fit together is refused, with the field's name", () => {
  const values = bytes("a", "b");
  const wrong: [MessageInitShape<typeof BatchSchema>, RegExp][] = [
    [{ values, keys: bytes("a") }, /keys/],
    [{ values, timestamps: [1n] }, /timestamps/],
    [{ values, offsets: [0n, 0n] }, /offsets do not ascend/],
    [{ values, offsets: [1n, 2n] }, /offsets do not ascend/],
    [{ values, nullValues: [2] }, /null_values/],
    [{ values, nullKeys: [0] }, /null_keys/],
    [{ values, headerCounts: [1, 0] }, /header_counts/],
    [{ values, firstOffset: -5n }, /first_offset/],
    [{ values, firstOffset: 2n ** 53n }, /takes numbers up to 9007199254740991/],
    [{ values, offsets: [0n, 2n ** 60n] }, /takes numbers up to/],
    [{ values, firstOffset: 2n ** 53n - 1n }, /exceed 2\^53/],
  ];
  for (const [init, text] of wrong) assert.throws(() => columns(init), text, String(text));
});

test("a header's name keeps its bytes, whatever they are", () => {
  for (const raw of [
    [],
    [0x61],
    [0xff, 0x61, 0xc3],
    [0xc3, 0xa9],
    [0xed, 0xb2, 0x80],
    [0xef, 0xbb, 0xbf],
    [0xf0, 0x9f, 0x92, 0xa9],
  ]) {
    assert.deepEqual(Buffer.from(nameBytes(nameText(Buffer.from(raw)))), Buffer.from(raw));
  }
  assert.equal(nameText(Buffer.from([0xff, 0x61])), "\udcffa");
  assert.equal(nameText(Buffer.from("é")), "é");
});
