/** What one lease has processed, and what of it the sidecar has been told. Offsets here are -1 for "none". */

import { create } from "@bufbuild/protobuf";
import { clip } from "./errors.js";
import { checkedCount, exact } from "./limits.js";
import type { Outcomes } from "./outcomes.js";
import {
  CheckpointEntrySchema,
  CheckpointOutcome,
  type CheckpointEntry,
  type CheckpointResult,
} from "./protocol/lambda_pb.js";

const MAX_NAMES = 10;
const MAX_NAME_BYTES = 256;
const MAX_COUNT = 2 ** 32 - 1;
const NONE = -1;

/** Is told when a lease has something to send. @internal */
export interface Sink {
  /** The lease has something to send that it did not have before. */
  changed(progress: LeaseProgress): void;
  /** Do not wait for the spacing of the calls. */
  hurry(): void;
  /** The lease sends nothing more. */
  forget(progress: LeaseProgress): void;
}

interface Beside {
  readonly beyond: number;
  readonly beyondBytes: number;
  readonly skipped: number;
  readonly skipping: readonly string[];
  readonly skippingCount: number;
}
const NOTHING: Beside = { beyond: 0, beyondBytes: 0, skipped: 0, skipping: [], skippingCount: 0 };

/** The progress of one lease. @internal */
export class LeaseProgress {
  /** Offset of the last message whose handler returned. */
  handled = NONE;
  sealed = false;
  /** Holds checkpoints back; set with the first record that the lambda produces. */
  outcomes: Outcomes | undefined;
  #offset = NONE;
  #beside = NOTHING;
  #delivered = NONE;
  #sent = NONE;
  #accepted = NONE;
  #toldHandled = NONE;
  #toldBeside: Beside | undefined = NOTHING; // undefined: nothing of it is known to have arrived
  #dirty = false;
  readonly #quarter: number;
  #urgentAt: number;

  constructor(
    readonly lease: string,
    window: number,
    startOffset: number,
    private readonly sink: Sink,
  ) {
    this.#quarter = Math.max(1, Math.floor(window / 4));
    this.#urgentAt = startOffset + this.#quarter;
  }

  /** Takes a checkpoint of the lambda. */
  checkpoint(offset: number): void {
    if (!Number.isSafeInteger(offset) || offset < 0) checkedCount("checkpoint(offset)", offset);
    if (offset <= this.#offset || this.sealed) return;
    if (this.outcomes === undefined) this.passed(offset);
    else this.outcomes.admit(offset);
  }

  /** Takes a checkpoint that nothing holds back. */
  passed(offset: number): void {
    if (offset <= this.#offset || this.sealed) return;
    this.#offset = offset;
    if (!this.#dirty) this.#mark();
    else if (offset >= this.#urgentAt) this.sink.hurry();
  }

  completedBeyond(count: number, bytes: number): void {
    const beyond = checkedCount("completedBeyond(count)", count);
    const beyondBytes = checkedCount("completedBeyond(bytes)", bytes);
    if (this.#beside.beyond !== beyond || this.#beside.beyondBytes !== beyondBytes) {
      this.#set({ ...this.#beside, beyond, beyondBytes });
    }
  }

  skipped(count: number, skipping: readonly string[], skippingCount: number): void {
    this.#set({
      ...this.#beside,
      skipped: Math.min(MAX_COUNT, checkedCount("skipped(count)", count)),
      skipping: skipping.slice(-MAX_NAMES).map((name) => clip(name, MAX_NAME_BYTES)),
      skippingCount: Math.min(MAX_COUNT, checkedCount("skipped(skippingCount)", skippingCount)),
    });
  }

  /** The highest offset that the lambda checkpointed; -1: none yet. */
  get offset(): number {
    return this.#offset;
  }

  /**
   * Whether a quarter of the window is checkpointed and not sent. Until the sidecar knows and has sent more, as much
   * again may be handled; if it were sent later, the window would fill and the partition wait for every round trip.
   */
  get urgent(): boolean {
    return this.#dirty && this.#offset >= this.#urgentAt;
  }

  /**
   * Notes that a frame came that ends with this offset, or that the messages after it come again. A lambda with a store
   * of its own may have checkpointed an offset that was not delivered yet. The last delivered one is sent instead, again
   * with each frame: if it waited until its own offset comes, a full window would make it wait for ever.
   */
  deliveredTo(offset: number): void {
    const ahead = this.#offset > this.#delivered;
    this.#delivered = offset;
    if (ahead) this.#mark();
  }

  /** Has `handled` sent if it moved without a checkpoint. */
  lookAtHandled(): void {
    if (this.handled !== this.#toldHandled) this.#mark();
  }

  /** Returns what there is to send, and counts it as sent. */
  take(): CheckpointEntry | undefined {
    this.#dirty = false;
    const offset = Math.min(this.#offset, this.#delivered);
    const news = offset > this.#sent;
    const told = this.#toldBeside === this.#beside && this.#toldHandled === this.handled;
    if (this.sealed || (!news && told)) return undefined;
    const entry = this.#entry(offset, news);
    if (news) {
      this.#sent = offset;
      this.#urgentAt = offset + this.#quarter;
    }
    this.#toldBeside = this.#beside;
    this.#toldHandled = this.handled;
    return entry;
  }

  /** The request did not come through: what it carried is sent again. */
  failed(): void {
    this.#sent = this.#accepted;
    this.#toldBeside = undefined;
    this.#mark();
  }

  /** Takes the sidecar's answer to an entry. */
  answered(entry: CheckpointEntry, result: CheckpointResult): void {
    switch (result.outcome) {
      case CheckpointOutcome.ACCEPTED:
      case CheckpointOutcome.ACCEPTED_DRAINING:
      case CheckpointOutcome.IGNORED_LOWER:
        if (entry.offset !== undefined) this.#accepted = Math.max(this.#accepted, Number(entry.offset));
        break;
      case CheckpointOutcome.BEYOND_DELIVERED: {
        // The offset is kept: `deliveredTo` sends it with the next frame. A frame that came while the call was under
        // way has called `deliveredTo` already, so this looks once more.
        this.#sent = this.#accepted;
        const arrived = this.#delivered;
        this.#delivered = Math.min(
          arrived,
          result.delivered === undefined ? NONE : exact(result.delivered, "CheckpointResult.delivered"),
        );
        if (arrived > Number(entry.offset ?? NONE)) this.deliveredTo(arrived);
        break;
      }
      case CheckpointOutcome.STALE_LEASE:
        this.seal();
        break;
      default: // of a newer sidecar: nothing counts as accepted, and asking again would be answered the same
    }
  }

  /**
   * Takes no more checkpoints; returns the last one for Closed or Error, or undefined when it is accepted already.
   * `below`: the offset that failed. A checkpoint at or above it is dropped: the last accepted one holds.
   */
  seal(below?: number): CheckpointEntry | undefined {
    if (this.sealed) return undefined;
    this.sealed = true;
    this.sink.forget(this);
    const offset = Math.min(this.#offset, this.#delivered);
    if (offset <= this.#accepted || (below !== undefined && offset >= below)) return undefined;
    return this.#entry(offset, true);
  }

  #entry(offset: number, withOffset: boolean): CheckpointEntry {
    const { beyond, beyondBytes, skipped, skipping, skippingCount } = this.#beside;
    const entry = create(CheckpointEntrySchema, {
      lease: this.lease,
      completedBeyond: Math.min(MAX_COUNT, beyond),
      completedBeyondBytes: BigInt(beyondBytes),
      // With the offset of the lambda's own checkpoint only: a message that comes again must not be counted twice.
      skipped: BigInt(offset === this.#offset ? skipped : 0),
      skipping: [...skipping],
      skippingCount,
    });
    if (withOffset) entry.offset = BigInt(offset);
    if (this.handled > NONE) entry.handled = BigInt(this.handled);
    return entry;
  }

  #set(beside: Beside): void {
    this.#beside = beside;
    this.#mark();
  }

  #mark(): void {
    if (this.#dirty || this.sealed) return;
    this.#dirty = true;
    this.sink.changed(this);
  }
}
