/** How far one lease's checkpoints are committed in Kafka, and the code that waits for that. */

import { NotCommittedError } from "./errors.js";
import { checkedCount } from "./limits.js";
import { Later } from "./timing.js";

/** @internal */
export class Committed {
  #offset = -1;
  #over = "";
  readonly #waiting = new Map<Later<void>, number>();

  /** `isTold`: the sidecar has the capability. Without it nobody would ever hear. */
  constructor(private readonly isTold: boolean) {}

  /** Whether the lease has ended. */
  get isOver(): boolean {
    return this.#over !== "";
  }

  /** Waits until this offset is committed. Rejects with `NotCommittedError`. Throws `TypeError` or `RangeError`. */
  until(offset: number): Promise<void> {
    checkedCount("committed(offset)", offset);
    const later = new Later<void>();
    // A wait that nobody looks at any more is no reason to end the process.
    later.promise.catch(() => undefined);
    if (offset <= this.#offset) later.resolve();
    else if (!this.isTold) later.reject(new NotCommittedError(offset, "the sidecar has no capability `committed`"));
    else if (this.isOver) later.reject(new NotCommittedError(offset, this.#over));
    else this.#waiting.set(later, offset);
    return later.promise;
  }

  /** Notes that everything up to this offset is committed. */
  take(committed: number): void {
    this.#offset = Math.max(this.#offset, committed);
    for (const [later, offset] of this.#waiting) {
      if (offset > this.#offset) continue;
      this.#waiting.delete(later);
      later.resolve();
    }
  }

  /** Ends with the lease: whatever is not committed yet, this process does not hear of it. */
  end(why: string): void {
    if (!this.isOver) this.#over = why;
    for (const [later, offset] of this.#waiting) later.reject(new NotCommittedError(offset, this.#over));
    this.#waiting.clear();
  }
}
