/** A database in memory, with as much of MongoDB as the published lambdas use here, and documents to play. */

import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { MongoManager, type ICollection, type IDb, type ITenantManager } from "@fluidframework/server-services-core";
import { Lumberjack } from "@fluidframework/server-services-telemetry";
import type { Stores } from "../src/stores.js";

Lumberjack.setup([{ emit: () => undefined }]);

export type Row = Record<string, unknown>;
export type Json = any; // eslint-disable-line @typescript-eslint/no-explicit-any -- of a recording

/** One collection. Filters are equalities. */
export class Rows {
  readonly rows: Row[] = [];
  /** The next calls of insertMany fail with these. */
  failures: Error[] = [];
  #unique: string[] = [];

  async findOne(filter: Row): Promise<Row | null> {
    return structuredClone(this.rows.find((row) => matches(row, filter)) ?? null);
  }

  async update(filter: Row, set: Row): Promise<void> {
    const row = this.rows.find((one) => matches(one, filter));
    if (row !== undefined) Object.assign(row, structuredClone(set));
  }

  async upsert(filter: Row, set: Row): Promise<void> {
    if (this.rows.some((row) => matches(row, filter))) await this.update(filter, set);
    else this.rows.push(structuredClone({ ...filter, ...set }));
  }

  async deleteOne(filter: Row): Promise<void> {
    const index = this.rows.findIndex((row) => matches(row, filter));
    if (index >= 0) this.rows.splice(index, 1);
  }

  /** Unordered, as scriptorium asks for it: it inserts what it can, then fails for the duplicates. */
  async insertMany(rows: Row[]): Promise<void> {
    const failure = this.failures.shift();
    if (failure !== undefined) throw failure;
    const isNew = (row: Row): boolean => {
      const key = Object.fromEntries(this.#unique.map((path) => [path, at(row, path)]));
      return !this.rows.some((one) => matches(one, key));
    };
    const fresh = rows.filter(isNew);
    this.rows.push(...structuredClone(fresh));
    if (fresh.length < rows.length) throw Object.assign(new Error("E11000 duplicate key"), { code: 11000 });
  }

  async createIndex(index: Row, unique: boolean): Promise<void> {
    if (unique) this.#unique = Object.keys(index);
  }
}

function at(row: Row, path: string): unknown {
  return path.split(".").reduce<Json>((value, name) => value?.[name], row);
}

function matches(row: Row, filter: Row): boolean {
  return Object.entries(filter).every(([path, value]) => at(row, path) === value);
}

const FRESH = { durableSequenceNumber: 0, expHash1: "00000000", logOffset: -1, sequenceNumber: 0, lastSentMSN: 0 };

/**
 * Stores in memory, with rows as the service's alfred makes them for new documents: deli refuses a document without a
 * row, and takes one without a state for new, whatever is in the collection of checkpoints.
 */
export class Memory {
  readonly documents = new Rows();
  readonly checkpoints = new Rows();
  readonly deltas = new Rows();
  isClosed = false;

  constructor(...documents: { tenantId: string; documentId: string }[]) {
    const deli = JSON.stringify({ ...FRESH, signalClientConnectionNumber: 0 });
    this.documents.rows.push(...documents.map(({ tenantId, documentId }) => ({ tenantId, documentId, deli })));
  }

  get stores(): Stores {
    const database: IDb = {
      close: async () => {
        this.isClosed = true;
      },
      on: () => undefined,
      collection: <T>(name: string) => this[name as "documents"] as unknown as ICollection<T & Json>,
      healthCheck: async () => undefined,
    };
    const tenants = { getTenantGitManager: async () => ({}) } as unknown as ITenantManager;
    return { mongo: new MongoManager({ connect: async () => database }, false), tenants };
  }
}

export interface Recording {
  readonly name: string;
  readonly rawdeltas: { key: string; value: Json }[];
  readonly deltas: Row[];
}

/** The project's recorded documents, and those in the folder RECORDED: NAME.rawdeltas.jsonl and NAME.deltas.jsonl. */
export function recordings(): Recording[] {
  const file = new URL("../../../../../tests/recorded/documents.jsonl.xz", import.meta.url);
  const text = execFileSync("xz", ["-dc", file.pathname], { encoding: "utf8", maxBuffer: 2 ** 26 });
  return [...(lines(text) as Recording[]), ...others(process.env["RECORDED"])];
}

function others(folder: string | undefined): Recording[] {
  if (folder === undefined) return [];
  const suffix = ".rawdeltas.jsonl";
  const names = readdirSync(folder).flatMap((name) => (name.endsWith(suffix) ? [name.slice(0, -suffix.length)] : []));
  if (names.length === 0) throw new Error(`RECORDED=${folder}: there is no *${suffix}`);
  const read = (name: string, kind: string): Json[] =>
    lines(readFileSync(join(folder, `${name}.${kind}.jsonl`), "utf8"));
  return names.map((name) => ({ name, rawdeltas: read(name, "rawdeltas"), deltas: read(name, "deltas") }));
}

function lines(text: string): Json[] {
  return text.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line)]));
}

/** Resolves when the condition holds; fails after five seconds. */
export async function until(condition: () => boolean): Promise<void> {
  const end = Date.now() + 5000;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`did not happen: ${condition.toString()}`);
    await new Promise(setImmediate);
  }
}
