/**
 * The collection, and the meaning of its errors. There are two failures. `Away`: the same insert may succeed later.
 * `Refused`: it never will, since one record cannot be stored.
 */

import { MongoBulkWriteError, MongoClient, MongoError, MongoServerError, type Collection } from "mongodb";
import { isSame, type Operation } from "./operations.js";
import type { Settings } from "./settings.js";

const KEY = { documentId: 1, "operation.sequenceNumber": 1, tenantId: 1 } as const; // the unique index (SC-7)
const DUPLICATE = 11000;
const CANNOT = new Set<unknown>([115, 238]); // CommandNotSupported, NotImplemented: FerretDB answers so to an expiry
const OTHER_OPTIONS = new Set<unknown>([85, 86]);
/** Write errors that the same document causes at every attempt: a bad value, key or type, or a validator's refusal. */
const THE_DOCUMENTS_OWN = new Set([2, 9, 14, 15, 22, 52, 53, 57, 121, 10334, 17280]);

/** The operations were not stored, or the outcome is unknown; it may be tried again. */
export class Away extends Error {
  override name = "Away";
}

/** One operation will never be stored. */
export class Refused extends Error {
  override name = "Refused";
  readonly offset: number;

  constructor(operation: Operation, why: string) {
    const { number, tenantId, documentId, offset } = operation;
    super(`operation ${String(number)} of ${tenantId}/${documentId} cannot be stored: ${why}`);
    this.offset = offset;
  }
}

/** Is called when operations differ from the stored ones with their numbers: a text, and the first one's offset. */
export type Different = (text: string, offset: number) => void;

/** The part of the store that a lambda needs. */
export interface Operations {
  /** Stores operations of one document; those that are stored already stay. Throws `Away` or `Refused`. */
  insert(operations: readonly Operation[], different: Different): Promise<void>;
  /** Checks that the server answers. Throws `Away` when it does not. */
  ping(): Promise<void>;
}

/** The collection of one process, shared by its partitions. */
export class Store implements Operations {
  readonly #client: MongoClient;
  readonly #collection: Collection;
  #preparing: Promise<void> | undefined;

  /** It does not connect yet. Throws when the url cannot be parsed; the text does not repeat it. */
  constructor(
    private readonly settings: Settings,
    private readonly warn: (text: string) => void,
  ) {
    try {
      this.#client = new MongoClient(settings.url, {
        appName: "scriptorium",
        serverSelectionTimeoutMS: settings.selection_timeout * 1000,
        connectTimeoutMS: settings.selection_timeout * 1000,
        socketTimeoutMS: settings.socket_timeout * 1000,
      });
    } catch (error) {
      const what = "user and password must be percent-encoded, and options spelled as in MongoDB's manual";
      throw new Error(`setting url: no valid MongoDB url (${(error as Error).name}): ${what}`);
    }
    this.#collection = this.#client.db(settings.database).collection(settings.collection);
  }

  close(): Promise<void> {
    return this.#client.close();
  }

  async ping(): Promise<void> {
    try {
      await this.#client.db("admin").command({ ping: 1 });
    } catch (error) {
      throw away(error);
    }
  }

  async insert(operations: readonly Operation[], different: Different): Promise<void> {
    try {
      await this.#prepare();
      await this.#collection.insertMany(
        operations.map(({ stored }) => stored),
        { ordered: false },
      );
    } catch (error) {
      if (error instanceof MongoBulkWriteError) await this.#compare(duplicatesIn(error, operations), different);
      else throw this.#failed(error);
    }
  }

  /** Operations with these numbers are stored: reports those that differ (SC-15). */
  async #compare(duplicates: readonly Operation[], different: Different): Promise<void> {
    const [first] = duplicates;
    if (first === undefined) return;
    const { tenantId, documentId } = first;
    const numbers = duplicates.map(({ number }) => number);
    try {
      const query = { documentId, tenantId, "operation.sequenceNumber": { $in: numbers } };
      const found = await this.#collection.find(query).toArray();
      const byNumber = new Map(found.map((document) => [Number(document["operation"]?.sequenceNumber), document]));
      const others = duplicates.filter(({ number, stored }) => {
        const there = byNumber.get(number);
        if (there === undefined) throw new Away(`operation ${String(number)} is stored and cannot be found`);
        return !isSame(stored, there);
      });
      if (others[0] === undefined) return;
      const shown = others.slice(0, 5).map(({ number }) => String(number));
      const more = others.length > 5 ? ", ..." : "";
      const text = `${tenantId}/${documentId} has other operations stored under these numbers, which stay: `;
      different(text + shown.join(", ") + more, others[0].offset);
    } catch (error) {
      throw error instanceof Away ? error : this.#failed(error);
    }
  }

  #failed(error: unknown): Error {
    this.#preparing = undefined; // the server that comes back may be another one, without data
    return away(error);
  }

  /** Creates the indexes, once, at the first insert: so a process starts without a database. */
  #prepare(): Promise<void> {
    this.#preparing ??= (async () => {
      await this.#collection.createIndex(KEY, { unique: true });
      if (this.settings.expire_after !== null) await this.#letExpire(this.settings.expire_after);
    })();
    return this.#preparing;
  }

  async #letExpire(expireAfterSeconds: number): Promise<void> {
    try {
      await this.#collection.createIndex({ mongoTimestamp: 1 }, { expireAfterSeconds });
    } catch (error) {
      const code = error instanceof MongoServerError ? error.code : undefined;
      if (CANNOT.has(code))
        this.warn("this server cannot remove old operations: expire_after has no effect, they stay");
      else if (OTHER_OPTIONS.has(code)) this.warn("mongoTimestamp has an index with another expiry: use collMod");
      else throw error;
    }
  }
}

/** The operations that are stored already, of a bulk error without other errors (SC-15). Throws `Away` or `Refused`. */
export function duplicatesIn(error: MongoBulkWriteError, operations: readonly Operation[]): Operation[] {
  const errors = [error.writeErrors].flat();
  for (const { code, index, errmsg } of errors) {
    const operation = operations[index];
    if (THE_DOCUMENTS_OWN.has(code) && operation !== undefined) {
      throw new Refused(operation, `${errmsg ?? "no reason given"} (code ${String(code)})`);
    }
  }
  const other = errors.find(({ code }) => code !== DUPLICATE);
  if (other !== undefined) throw new Away(`a write failed: ${other.errmsg ?? ""} (code ${String(other.code)})`);
  const concern = error.result.getWriteConcernError();
  if (concern !== undefined || errors.length === 0) {
    throw new Away(`not written safely: ${concern?.errmsg ?? "a bulk error without a reason"}`);
  }
  return errors.flatMap(({ index }) => operations[index] ?? []);
}

function away(error: unknown): Error {
  return error instanceof MongoError ? new Away(`${error.name}: ${error.message.slice(0, 300)}`) : (error as Error);
}
