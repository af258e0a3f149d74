/**
 * The waiting operations, the batch in flight, and how far the partition is stored. Pure.
 *
 * One batch is in flight; operations that arrive meanwhile make the next one (SC-3, SC-4). So a slow database gets larger
 * batches, and nobody has to choose a size.
 */

import type { Operation } from "./operations.js";

/** The operations of a run of records, by document. */
export interface Batch {
  /** The offset of the first record, and of the last one. */
  readonly first: number;
  last: number;
  readonly documents: Map<string, Operation[]>;
  count: number;
}

/** One insert each: of one document, at most `most` operations (SC-5); 0: no limit. */
export function slices(batch: Batch, most: number): Operation[][] {
  return [...batch.documents.values()].flatMap((operations) => {
    const size = most || operations.length;
    return Array.from({ length: Math.ceil(operations.length / size) }, (_, index) =>
      operations.slice(index * size, (index + 1) * size),
    );
  });
}

/** The batches of one partition. */
export class Batches {
  #pending: Batch | undefined;
  #underWay: Batch | undefined;

  /** How many operations wait for the batch in flight. */
  get pending(): number {
    return this.#pending?.count ?? 0;
  }

  /** The offset of the first record that is not known to be stored; undefined: all are stored. */
  get first(): number | undefined {
    return (this.#underWay ?? this.#pending)?.first;
  }

  /**
   * A record was handled. Returns the offset to checkpoint, if it moves already: a record without operations needs no
   * insert, and is done as soon as the records before it are (SC-11).
   */
  add(offset: number, operations: readonly Operation[]): number | undefined {
    if (operations.length === 0 && this.first === undefined) return offset;
    this.#pending ??= { first: offset, last: offset, documents: new Map(), count: 0 };
    this.#pending.last = offset;
    this.#pending.count += operations.length;
    for (const operation of operations) {
      const same = this.#pending.documents.get(operation.document);
      if (same === undefined) this.#pending.documents.set(operation.document, [operation]);
      else same.push(operation);
    }
    return undefined;
  }

  /** The next batch to store, which is in flight from now on; undefined: one is in flight, or no operation waits. */
  take(): Batch | undefined {
    if (this.#underWay !== undefined) return undefined;
    this.#underWay = this.#pending;
    this.#pending = undefined;
    return this.#underWay;
  }

  /** The whole batch in flight is stored. Returns the offset to checkpoint (SC-6). */
  stored(): number {
    if (this.#underWay === undefined) throw new Error("no batch is in flight");
    const { last } = this.#underWay;
    this.#underWay = undefined;
    return last;
  }

  /** Forgets the waiting operations: they are delivered again. */
  dropPending(): void {
    this.#pending = undefined;
  }

  /** Forgets all operations: they are delivered again. */
  clear(): void {
    this.#pending = this.#underWay = undefined;
  }
}
