/** What one lease has processed, and what of it the sidecar has been told. Offsets here are -1 for "none". */

import { create } from "@bufbuild/protobuf";
import { clip } from "./errors.js";
import { checkedCount, exact } from "./limits.js";
import type { Held, Outcomes } from "./outcomes.js";
import {
  CheckpointEntrySchema,
  CheckpointOutcome,
  type CheckpointEntry,
  type CheckpointResult,
} from "./protocol/lambda_pb.js";
import { Later } from "./timing.js";

const MAX_NAMES = 10;
const MAX_NAME_BYTES = 256;
const MAX_COUNT = 2 ** 32 - 1;
const NONE = -1;

/** Is told when a lease has something to send. @internal */
export interface Sink {
  /**
   * With exactly-once, from the answer to a checkpoint until the next one is sent. In between records are held without
   * waiting for a transaction; without a pause, code that awaits each record would wait for a transaction each time.
   */
  readonly commitSpacingMs: number;
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
  /** Whether checkpoints are spaced, and give way to records: with exactly-once, once the lambda has produced any. */
  isSpaced = false;
  #offset = NONE;
  #beside = NOTHING;
  #delivered = NONE;
  #sent = NONE;
  #accepted = NONE;
  #toldHandled = NONE;
  #toldBeside: Beside | undefined = NOTHING; // undefined: nothing of it is known to have arrived
  #dirty = false;
  #states: { readonly offset: number; readonly state: Buffer }[] = []; // given, and not known to have arrived; ascending
  #isCalling = false; // a call has an offset of this lease
  #isHeld = false; // a call of Produce is under way: with exactly-once no checkpoint may pass it
  #overtaken = NONE; // up to this offset records have passed it: only a higher one may be sent
  #nextAt = 0; // when it may be sent, where it is spaced
  #timer: NodeJS.Timeout | undefined;
  #moved: Later<void> | undefined;
  readonly #quarter: number; // of the window, in messages
  readonly #quarterInBytes: number;
  #quarterInOffsets: number;
  #cameTo: number; // the last offset of the last frame
  #urgentAt: number;

  /** The window is in messages; `windowBytes` in bytes of them. */
  constructor(
    readonly lease: string,
    window: number,
    startOffset: number,
    private readonly sink: Sink,
    windowBytes = Infinity,
  ) {
    this.#quarter = Math.max(1, Math.floor(window / 4));
    this.#quarterInBytes = Math.floor(windowBytes / 4);
    this.#quarterInOffsets = this.#quarter;
    this.#cameTo = startOffset - 1;
    this.#urgentAt = startOffset + this.#quarter;
  }

  /** Takes a checkpoint of the lambda, and its state if it has one. */
  checkpoint(offset: number, state?: Buffer): void {
    if (!Number.isSafeInteger(offset) || offset < 0) checkedCount("checkpoint(offset)", offset);
    if (offset <= this.#offset || this.sealed) return;
    if (this.outcomes === undefined) this.passed(offset, state);
    else this.outcomes.admit(offset, state);
  }

  /** Takes a checkpoint that nothing holds back. */
  passed(offset: number, state?: Buffer): void {
    if (offset <= this.#offset || this.sealed) return;
    this.#give(offset, state);
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
   * Notes that a frame of so many messages and bytes came, which ends with this offset. The window counts messages and
   * their bytes, and checkpoints are offsets. Those of a lane have gaps where the records of other lanes are; so has a
   * compacted log. How many offsets a quarter of the window takes is estimated by this frame.
   */
  came(count: number, last: number, size: number): void {
    const byBytes = Math.floor((this.#quarterInBytes * count) / Math.max(1, size)); // tombstones without keys have no bytes
    const quarter = Math.min(this.#quarter, Math.max(1, byBytes));
    this.#quarterInOffsets = quarter * Math.max(1, Math.floor((last - this.#cameTo) / count));
    this.#cameTo = last;
    this.deliveredTo(last);
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
    const offset = this.#sendable;
    const news = this.#hasNews && !this.#isHeld && this.#isDue();
    if (!news) this.#wake();
    const told = this.#toldBeside === this.#beside && this.#toldHandled === this.handled;
    if (this.sealed || (!news && told)) return undefined;
    const entry = this.#entry(offset, news);
    if (news) {
      this.#isCalling = true;
      this.#sent = offset;
      this.#urgentAt = offset + this.#quarterInOffsets;
    }
    this.#toldBeside = this.#beside;
    this.#toldHandled = this.handled;
    return entry;
  }

  /** The request did not come through: what it carried is sent again. */
  failed(): void {
    this.#isCalling = false;
    this.#sent = this.#accepted;
    this.#toldBeside = undefined;
    this.#mark();
  }

  /** Takes the sidecar's answer to an entry. */
  answered(entry: CheckpointEntry, result: CheckpointResult): void {
    if (entry.offset !== undefined) {
      this.#isCalling = false;
      this.#nextAt = performance.now() + this.sink.commitSpacingMs;
    }
    switch (result.outcome) {
      case CheckpointOutcome.ACCEPTED:
      case CheckpointOutcome.ACCEPTED_DRAINING:
      case CheckpointOutcome.IGNORED_LOWER:
        if (entry.offset !== undefined) this.#accept(Number(entry.offset));
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
    this.#wake();
  }

  /**
   * Takes no more checkpoints; returns the last one for Closed or Error, or undefined when it is accepted already.
   * `below`: the offset that failed. A checkpoint at or above it is dropped: the last accepted one holds.
   */
  seal(below?: number): CheckpointEntry | undefined {
    if (this.sealed) return undefined;
    this.sealed = true;
    this.sink.forget(this);
    clearTimeout(this.#timer);
    this.#wake();
    const offset = this.#sendable;
    if (offset <= Math.max(this.#accepted, this.#overtaken) || this.#isHeld) return undefined;
    if (below !== undefined && offset >= below) return undefined;
    return this.#entry(offset, true);
  }

  // ------------------------------------------------------------------------------------------ exactly-once

  /**
   * Lets records pass; returns whether they may. A checkpoint commits what the sidecar holds when it arrives. So records
   * wait for one that is under way, or due; one that is not due gives way to them, and is not sent any more: the next
   * one covers it. Where it is true, `release` has to follow.
   */
  overtake(): boolean {
    if (this.sealed) return true;
    if (this.#isCalling) return false;
    if (this.#hasNews) {
      if (this.#isDue()) {
        if (!this.#sendFirst()) return false;
      } else if (this.#offset < this.#delivered) {
        this.#overtaken = this.#offset; // otherwise it covers all messages that these records may come from
      }
    }
    this.#isHeld = true;
    return true;
  }

  /** Has the checkpoint sent; returns whether it is answered already. */
  #sendFirst(): boolean {
    this.#mark();
    this.sink.hurry();
    return !this.#isCalling && !this.#hasNews;
  }

  /** Waits until what `overtake` looks at has changed. */
  moved(): Promise<void> {
    return (this.#moved ??= new Later<void>()).promise;
  }

  /** The records that passed are answered. */
  release(): void {
    this.#isHeld = false;
    if (this.#hasNews) this.#mark();
  }

  /** Makes the entry for a checkpoint that goes with records; undefined: none of it is delivered. */
  commitOf({ offset, state }: Held): CheckpointEntry | undefined {
    const sendable = Math.min(offset, this.#delivered);
    if (this.sealed || sendable <= this.#accepted) return undefined;
    this.#give(offset, state);
    return this.#entry(sendable, true, offset);
  }

  /** Takes the sidecar's answer to such an entry. One that was not accepted goes on as any other. */
  committed({ offset }: Held, entry: CheckpointEntry, result: CheckpointResult | undefined): void {
    switch (result?.outcome) {
      case CheckpointOutcome.ACCEPTED:
      case CheckpointOutcome.ACCEPTED_DRAINING:
        this.#offset = Math.max(this.#offset, offset);
        this.#sent = Math.max(this.#sent, Number(entry.offset));
        this.#urgentAt = this.#sent + this.#quarterInOffsets;
        this.#toldBeside = this.#beside;
        this.#accept(this.#sent);
        break;
      case CheckpointOutcome.STALE_LEASE:
        this.seal();
        break;
      default:
    }
  }

  // ----------------------------------------------------------------------------------------------- inside

  /** The lambda's checkpoint, or as far of it as was delivered. */
  get #sendable(): number {
    return Math.min(this.#offset, this.#delivered);
  }

  /** Whether there is an offset that was not sent, and that no records have passed. */
  get #hasNews(): boolean {
    return this.#sendable > Math.max(this.#sent, this.#overtaken);
  }

  /** Whether an offset may be sent now; where not, it is looked at again when it may. */
  #isDue(): boolean {
    const wait = this.isSpaced && this.#offset < this.#urgentAt ? this.#nextAt - performance.now() : 0;
    if (wait <= 0) return true;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#mark();
    }, wait);
    return false;
  }

  #accept(offset: number): void {
    this.#accepted = Math.max(this.#accepted, offset);
    if (this.#states.length > 0) this.#states = this.#states.filter((given) => given.offset > this.#accepted);
  }

  #give(offset: number, state: Buffer | undefined): void {
    if (state === undefined || offset <= (this.#states.at(-1)?.offset ?? NONE)) return;
    if (offset <= this.#delivered) this.#states = []; // no entry ends below it any more
    this.#states.push({ offset, state });
  }

  #wake(): void {
    this.#moved?.resolve();
    this.#moved = undefined;
  }

  /** `own`: the lambda's own checkpoint, of which `offset` may be as much as was delivered. */
  #entry(offset: number, withOffset: boolean, own = this.#offset): CheckpointEntry {
    const { beyond, beyondBytes, skipped, skipping, skippingCount } = this.#beside;
    const entry = create(CheckpointEntrySchema, {
      lease: this.lease,
      completedBeyond: Math.min(MAX_COUNT, beyond),
      completedBeyondBytes: BigInt(beyondBytes),
      // With the offset of the lambda's own checkpoint only: a message that comes again must not be counted twice.
      skipped: BigInt(offset === own ? skipped : 0),
      skipping: [...skipping],
      skippingCount,
    });
    if (withOffset) {
      entry.offset = BigInt(offset);
      const given = this.#states.findLast((one) => one.offset <= offset);
      if (given !== undefined) entry.state = given.state;
    }
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
