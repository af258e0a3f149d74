/** Makes stored documents of a record of deltas, and compares two stored documents. Pure. */

import { isDeepStrictEqual } from "node:util";
import { BSON } from "mongodb";

type Json = Record<string, unknown>;

const LARGEST = 16 * 1024 * 1024; // bytes of the largest document that MongoDB stores
const utf8 = new TextDecoder("utf-8", { fatal: true });

/** A record that cannot be understood. */
export class Malformed extends Error {
  override name = "Malformed";
}

/** A sequenced operation in its stored form. */
export interface Operation {
  readonly tenantId: string;
  readonly documentId: string;
  /** The collaborative document: its tenant and its id in one text. */
  readonly document: string;
  /** Its sequence number. */
  readonly number: number;
  /** The offset of its record. */
  readonly offset: number;
  readonly stored: Json;
}

/** The sequenced operations in a record's value; entries of other types are left out (SC-1). Throws `Malformed`. */
export function operationsOf(value: Buffer | null, offset: number): Operation[] {
  if (value === null) throw new Malformed("a record without a value");
  const message = parsed(value);
  if (!isObject(message)) throw new Malformed("the value is no object");
  const contents = message["type"] === "boxcar" ? message["contents"] : [message]; // a message without a boxcar
  if (!Array.isArray(contents)) throw new Malformed("a boxcar without contents");
  return contents
    .map((entry: unknown) => (typeof entry === "string" ? parsed(Buffer.from(entry)) : entry)) // in old records
    .filter((entry) => isObject(entry))
    .filter((entry) => entry["type"] === "SequencedOperation")
    .map((entry) => operationOf(entry, offset));
}

/**
 * Whether two stored documents are one operation. A sequencer that starts again gives the same messages the same numbers,
 * at a later time (DL-59): fields with times of the sequencing are not compared.
 */
export function isSame(ours: Json, stored: Json): boolean {
  return isDeepStrictEqual(essence(ours), essence(stored));
}

function essence({ _id, mongoTimestamp, ...document }: Json): Json {
  const { traces, additionalContent, ...operation } = isObject(document["operation"]) ? document["operation"] : {};
  return { ...document, operation };
}

function operationOf(entry: Json, offset: number): Operation {
  const { tenantId, documentId, operation } = entry;
  if (typeof tenantId !== "string" || typeof documentId !== "string" || !isObject(operation)) {
    throw new Malformed("a sequenced operation without a tenantId, a documentId or an operation");
  }
  const { sequenceNumber: number, timestamp } = operation;
  if (!Number.isSafeInteger(number) || !Number.isSafeInteger(timestamp)) {
    throw new Malformed("a sequenced operation without a sequenceNumber or a timestamp");
  }
  const mongoTimestamp = new Date(timestamp as number);
  const stored = { ...entry, operation: { ...operation, traces: [] }, mongoTimestamp }; // SC-2
  checkSize(stored, number as number);
  const document = JSON.stringify([tenantId, documentId]);
  return { tenantId, documentId, document, number: number as number, offset, stored };
}

function checkSize(stored: Json, number: number): void {
  let size: number;
  try {
    size = BSON.serialize(stored).length;
  } catch (error) {
    throw new Malformed(`BSON cannot hold operation ${String(number)}: ${String(error)}`);
  }
  if (size > LARGEST) {
    throw new Malformed(`operation ${String(number)} takes ${String(size)} bytes, more than ${String(LARGEST)}`);
  }
}

function parsed(value: Buffer): unknown {
  try {
    return JSON.parse(utf8.decode(value)) as unknown;
  } catch (error) {
    throw new Malformed(`the value is no JSON: ${String(error)}`);
  }
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
