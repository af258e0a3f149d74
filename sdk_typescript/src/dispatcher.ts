/**
 * Frames in, handler calls out. The reader puts frames in, and one call of `run` calls the handler with one message
 * after another. `stop`, `hold` and `drop` may be called at any time, also by a running handler: `run` looks at what
 * they changed before it begins the next call.
 */

import type { Columns } from "./batch.js";
import type { Message } from "./interfaces.js";
import type { LeaseProgress } from "./progress.js";
import { Later, type Turns } from "./timing.js";
import type { Tracing } from "./tracing.js";

const LOOK_EVERY = 64; // messages, between two looks whether a checkpoint is urgent

/** A handler failed at this offset; `cause` is what it threw. @internal */
export class HandlerFailedError extends Error {
  constructor(
    readonly offset: number,
    override readonly cause: unknown,
  ) {
    super(`the handler failed at offset ${String(offset)}`);
  }
}

/** @internal */
export class Dispatcher {
  /** Messages that no handler was called with. */
  waiting = 0;
  /** Offset of the message whose handler runs. */
  workingOn: number | undefined;
  /** Called when a frame is used up, and when nothing more is to be handled for now. */
  onRoom: () => void = () => undefined;
  #frames: Columns[] = [];
  #position = 0; // in the first frame
  #held = false;
  #stopped = false;
  #news: Later<void> | undefined;
  #idle: Later<void> | undefined;
  /** Whether no handler runs, and none will be called before something changes. */
  isIdle = true;

  constructor(
    private readonly progress: LeaseProgress,
    private readonly turns: Turns,
    private readonly tracing?: Tracing,
  ) {}

  get held(): boolean {
    return this.#held;
  }

  /** Offset of the first message that no handler was called with. */
  get nextOffset(): number | undefined {
    return this.#frames[0]?.offset(this.#position);
  }

  /** Queues a frame. After `stop` it is dropped: another lease gets its messages. */
  put(columns: Columns): void {
    if (this.#stopped) return;
    this.#frames.push(columns);
    this.tracing?.put(columns);
    this.waiting += columns.count;
    this.#wake();
  }

  /** Begins no handler call until `release`. */
  hold(): void {
    this.#held = true;
    this.onRoom();
  }

  release(): void {
    this.#held = false;
    this.#wake();
  }

  /** Forgets the messages that wait: they come again. */
  drop(): void {
    this.#frames = [];
    this.#position = 0;
    this.waiting = 0;
    this.tracing?.drop();
    this.onRoom();
  }

  /** Begins no handler call any more; `run` returns after the one that runs. */
  stop(): void {
    this.#stopped = true;
    this.drop();
    this.#wake();
  }

  /** Waits until `isIdle`. */
  async idle(): Promise<void> {
    while (!this.isIdle) await (this.#idle ??= new Later<void>()).promise;
  }

  /** Calls the handler until `stop`. Throws `HandlerFailedError`; nothing follows then. */
  async run(plain: (message: Message) => unknown): Promise<void> {
    const handler = this.tracing?.handler(plain) ?? plain;
    try {
      await this.turns.begin();
      for (let count = 1; ; count += 1) {
        const message = this.#take();
        if (message === undefined) {
          if (this.#stopped) return;
          await this.#stand();
          continue;
        }
        this.workingOn = message.offset;
        try {
          const result = handler(message);
          if (isThenable(result)) await result;
        } catch (error) {
          throw new HandlerFailedError(message.offset, error);
        }
        this.workingOn = undefined;
        this.progress.handled = message.offset;
        // The sidecar may wait for an urgent checkpoint before it sends more: the rest of the loop sends it now.
        if (this.turns.over() || (count % LOOK_EVERY === 0 && this.progress.urgent)) await this.turns.next();
      }
    } finally {
      this.#stopped = true;
      this.#setIdle();
    }
  }

  #take(): Message | undefined {
    const columns = this.#frames[0];
    if (columns === undefined || this.#held || this.#stopped) return undefined;
    const message = columns.message(this.#position++);
    this.waiting -= 1;
    if (this.#position >= columns.count) {
      this.#frames.shift();
      this.#position = 0;
      this.onRoom();
    }
    return message;
  }

  async #stand(): Promise<void> {
    this.#setIdle();
    await (this.#news ??= new Later<void>()).promise;
    await this.turns.begin();
  }

  #setIdle(): void {
    this.isIdle = true;
    this.#idle?.resolve();
    this.#idle = undefined;
  }

  #wake(): void {
    if (!this.#stopped && !this.#held && this.#frames.length > 0) this.isIdle = false;
    this.#news?.resolve();
    this.#news = undefined;
  }
}

/** Whether code returned something to await. @internal */
export function isThenable(result: unknown): result is PromiseLike<unknown> {
  return typeof result === "object" && result !== null && typeof (result as { then?: unknown }).then === "function";
}
