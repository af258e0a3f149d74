/**
 * The messages of one lease on their way to the handler: frames come in, and pauses hold them.
 *
 * A pause begins here at once. It ends when the sidecar sends Resumed for the latest pause; one for an earlier pause has
 * crossed the latest on the way. With an offset, the sidecar sends the messages from it on again. So those that wait
 * here are dropped, and so is every frame until Resumed: the sidecar wrote it before it knew of the pause. A second
 * pause must not lose what the first one asked for, so the offset only moves down until a Resumed.
 */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Columns } from "./batch.js";
import type { Dispatcher } from "./dispatcher.js";
import { clip, FrameError, messageOf } from "./errors.js";
import type { ILogger, IPartitionLambda } from "./interfaces.js";
import { checkedCount, exact } from "./limits.js";
import type { LeaseProgress } from "./progress.js";
import {
  LambdaFrameSchema,
  type Batch,
  type LambdaFrame,
  type PauseSchema,
  type Resumed,
} from "./protocol/lambda_pb.js";

const MAX_REASON_BYTES = 1024;
const MAX_RETRY_AFTER_MS = 2 ** 32 - 1;

/** Stands between a stream and its dispatcher. @internal */
export class PauseGate {
  /** True while many records that the lambda produced wait to be written. */
  full = false;
  /** Is told of pauses, as kafka-service does; set when the lambda is made. */
  lambda: IPartitionLambda | undefined;
  /** Whether to read on. */
  onReading: (reading: boolean) => void = () => undefined;
  #paused = false;
  #nextOffset = 0;
  #highest = -1;
  #rewind: number | undefined; // messages from here on come again: frames are void until Resumed
  #number = 0;
  #ended = false;
  #write: ((frame: LambdaFrame) => void) | undefined;
  #early: LambdaFrame[] = []; // said before Ready

  constructor(
    private readonly topic: string,
    private readonly partition: number,
    private readonly progress: LeaseProgress,
    private readonly dispatcher: Dispatcher,
    private readonly window: number,
    private readonly log: ILogger,
  ) {
    dispatcher.onRoom = () => {
      this.onReading(this.#hasRoom());
    };
  }

  /** Writes pauses from now on: Ready was sent. */
  open(write: (frame: LambdaFrame) => void): void {
    this.#write = write;
    for (const frame of this.#early.splice(0)) write(frame);
  }

  /** Ends with the lease: no handler call begins, and nothing is written any more. */
  end(): void {
    this.#ended = true;
    this.dispatcher.stop();
  }

  /** Begins no handler call while `full`. */
  fill(full: boolean): void {
    this.full = full;
    if (full) this.dispatcher.hold();
    else if (!this.#paused) this.dispatcher.release();
  }

  // ---------------------------------------------------------------------------------------- from the sidecar

  /** Takes a frame. Throws `FrameError` when it does not fit. */
  take(batch: Batch): void {
    if (this.#rewind !== undefined || this.#ended) return;
    const columns = new Columns(batch, this.topic, this.partition);
    if (columns.count === 0) return;
    if (columns.first < this.#nextOffset) {
      throw new FrameError(`Batch.first_offset ${String(columns.first)} comes after ${String(this.#nextOffset - 1)}`);
    }
    this.#nextOffset = columns.last + 1;
    this.#highest = Math.max(this.#highest, columns.last);
    this.progress.came(columns.count, columns.last, columns.size);
    this.dispatcher.put(columns);
    this.onReading(this.#hasRoom());
  }

  /** Ends the pause that the sidecar names, if it is the latest. Throws `FrameError`. */
  resumed(resumed: Resumed): void {
    if (!this.#paused || resumed.number !== this.#number) return;
    this.#paused = false;
    if (this.#rewind !== undefined) {
      this.#rewind = undefined;
      this.#nextOffset = exact(resumed.fromOffset, "Resumed.from_offset");
      this.progress.deliveredTo(this.#nextOffset - 1);
    }
    this.log.info("resumed");
    this.lambda?.resume?.();
    if (!this.full) this.dispatcher.release();
  }

  // ----------------------------------------------------------------------------------------- from the lambda

  /** Begins a pause, or replaces the present one. Throws `RangeError` when its offset cannot come again. */
  pause(offset: number | undefined, reason: unknown, retryAfterMs: number | undefined): void {
    if (this.#ended) return;
    if (offset !== undefined) this.#check(offset);
    if (retryAfterMs !== undefined && !(retryAfterMs > 0 && retryAfterMs < Infinity)) {
      throw new RangeError(`pause(retryAfterMs): above 0, got ${String(retryAfterMs)}`);
    }
    this.dispatcher.hold();
    if (offset !== undefined) this.#rewindTo(offset);
    const value: MessageInitShape<typeof PauseSchema> = {
      number: ++this.#number,
      reason: reason === undefined ? "" : clip(messageOf(reason), MAX_REASON_BYTES),
      retryAfterMs: Math.min(MAX_RETRY_AFTER_MS, Math.ceil(retryAfterMs ?? 0)),
    };
    if (this.#rewind !== undefined) value.offset = BigInt(this.#rewind);
    this.#paused = true;
    this.#put(create(LambdaFrameSchema, { frame: { case: "pause", value } }));
    const until = retryAfterMs === undefined ? "until it is resumed" : `for ${String(retryAfterMs)} ms`;
    const again = this.#rewind === undefined ? "" : `, then again from offset ${String(this.#rewind)}`;
    this.log.warn(`paused ${until}${again}: ${value.reason || "no reason given"}`);
    this.lambda?.pause?.(this.#rewind ?? this.dispatcher.nextOffset ?? this.#nextOffset);
  }

  resume(): void {
    if (this.#ended) return;
    if (!this.#paused) this.log.warn("resume() without a pause: ignored");
    else this.#put(create(LambdaFrameSchema, { frame: { case: "resume", value: {} } }));
  }

  #check(offset: number): void {
    checkedCount("pause(offset)", offset);
    if (offset > this.#highest) {
      const came = this.#highest < 0 ? "none came yet" : `the last that came has ${String(this.#highest)}`;
      throw new RangeError(`pause(offset ${String(offset)}): there is no such message to come again, ${came}`);
    }
    if (offset <= this.progress.offset) {
      throw new RangeError(
        `pause(offset ${String(offset)}): the checkpoint is at ${String(this.progress.offset)}, and what is ` +
          "checkpointed does not come again",
      );
    }
  }

  #rewindTo(offset: number): void {
    // Messages below the offset may wait here. They are dropped with the rest, so they have to come again as well.
    const waiting = this.dispatcher.nextOffset ?? this.#nextOffset;
    let first = Math.max(Math.min(offset, waiting), this.progress.offset + 1); // the sidecar does not go lower
    if (this.#rewind !== undefined) first = Math.min(first, this.#rewind);
    else if (first >= this.#nextOffset) return; // it is still to come, after an earlier rewind
    this.#rewind = first;
    this.progress.deliveredTo(first - 1);
    this.dispatcher.drop();
  }

  #put(frame: LambdaFrame): void {
    if (this.#write === undefined) this.#early.push(frame);
    else this.#write(frame);
  }

  /**
   * The window bounds what comes. Only a lambda that checkpoints far ahead of its handler opens it wider; then not
   * reading on bounds what waits here. During a pause reading goes on: the Resumed that ends it comes after what is not
   * read, and the sidecar sends no more than it had sent.
   */
  #hasRoom(): boolean {
    return this.dispatcher.waiting <= 2 * this.window || this.dispatcher.held || this.#ended;
  }
}
