/**
 * What became of the records that a lambda produced, and which of its checkpoints may be sent.
 *
 * 1. A checkpoint is sent when the outcome of every record that was produced before it is known.
 * 2. An outcome is *received* by code that awaits it (that calls `then`, `catch` or `finally`). A wait that its `signal`
 *    gave up has received nothing.
 * 3. A failure that was not received holds back the checkpoints that were called after its `produce`. They are sent when
 *    it is received. If it is not within `HOLD_MS`, or within `UNAWAITED_MS` where it holds nothing back, the lambda
 *    fails. A failure whose wait was given up fails it at once.
 *
 * Code that received a failure knows of it: what it checkpoints then is the lambda's own decision.
 */

import type { Produced } from "./interfaces.js";
import { Later } from "./timing.js";

/** How long a failure that nobody received may hold back a checkpoint. @internal */
export const HOLD_MS = 1000;
/** How long it may stay unreceived in any case. @internal */
export const UNAWAITED_MS = 10_000;

/** What became of a record. @internal */
export type Settled = { readonly value: Produced } | { readonly error: unknown };

/**
 * The promise of one record's outcome. It makes a promise of the language only when somebody asks, so a failure that
 * nobody asks for is no unhandled rejection. @internal
 */
export class Outcome implements Promise<Produced> {
  readonly [Symbol.toStringTag] = "Promise";
  /** Of the record among those of its lambda, in the order in which they were produced. */
  number = 0;
  received = false;
  givenUp = false;
  /** Called when somebody receives it. */
  onReceived: (() => void) | undefined;
  #settled: Settled | undefined;
  #later: Later<Produced> | undefined;
  #stopWaiting: (() => void) | undefined;
  #onSettled: ((settled: Settled) => void) | undefined;

  get done(): boolean {
    return this.#settled !== undefined;
  }

  /** Gives the wait up, with the signal's reason, when the signal is aborted before the outcome is there. */
  until(signal: AbortSignal): void {
    const giveUp = (): void => {
      this.givenUp = true;
      this.#settle({ error: signal.reason });
    };
    if (signal.aborted) {
      giveUp();
      return;
    }
    signal.addEventListener("abort", giveUp, { once: true });
    this.#stopWaiting = () => {
      signal.removeEventListener("abort", giveUp);
    };
  }

  /** Calls a function with the outcome, which is not received by that. */
  observe(onSettled: (settled: Settled) => void): void {
    if (this.#settled === undefined) this.#onSettled = onSettled;
    else onSettled(this.#settled);
  }

  resolve(value: Produced): void {
    this.#settle({ value });
  }

  fail(error: unknown): void {
    this.#settle({ error });
  }

  then<A = Produced, B = never>(
    onFulfilled?: ((value: Produced) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    if (!this.received && !this.givenUp) {
      this.received = true;
      this.onReceived?.();
    }
    if (this.#later === undefined) {
      this.#later = new Later<Produced>();
      if (this.#settled !== undefined) this.#tell(this.#later, this.#settled);
    }
    return this.#later.promise.then(onFulfilled, onRejected);
  }

  catch<B = never>(onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<Produced | B> {
    return this.then(undefined, onRejected);
  }

  finally(onFinally?: (() => void) | null): Promise<Produced> {
    return this.then().finally(onFinally);
  }

  #settle(settled: Settled): void {
    if (this.#settled !== undefined) return;
    this.#settled = settled;
    this.#stopWaiting?.();
    this.#onSettled?.(settled);
    if (this.#later !== undefined) this.#tell(this.#later, settled);
  }

  #tell(later: Later<Produced>, settled: Settled): void {
    if ("value" in settled) later.resolve(settled.value);
    else later.reject(settled.error);
  }
}

interface Failed {
  readonly outcome: Outcome;
  readonly error: Error;
  readonly at: number;
}

/** A checkpoint that waits for outcomes. @internal */
export interface Held {
  /** So many records were produced before it. */
  readonly needed: number;
  readonly offset: number;
  readonly state: Buffer | undefined;
}

/** The outcomes of one lambda, and the checkpoints that wait for them. @internal */
export class Outcomes {
  /** How many records were produced. */
  put = 0;
  #underWay = 0;
  #known = 0; // so many outcomes, from the first record on, are known; all when none is under way
  #held: Held[] = []; // both of its numbers ascend
  #failed: Failed[] = [];
  #blockedAt: number | undefined; // since when a failure holds a checkpoint back
  #timer: NodeJS.Timeout | undefined;
  #over = false;
  #released: Later<void> | undefined;

  constructor(
    private readonly onPass: (offset: number, state: Buffer | undefined) => void,
    private readonly onFailure: (error: Error) => void,
  ) {}

  /** Takes a checkpoint, and passes it on now or when it may be sent. */
  admit(offset: number, state?: Buffer): void {
    if (this.#over) return;
    const last = this.#held[this.#held.length - 1];
    if (last === undefined && this.#failed.length === 0 && this.#known === this.put) {
      this.onPass(offset, state);
      return;
    }
    if (last !== undefined && offset <= last.offset) return; // a higher one waits already, for fewer records
    if (last?.needed === this.put && last.state === undefined) this.#held.pop();
    this.#held.push({ needed: this.put, offset, state });
    this.#release();
  }

  /** Notes a record. If its outcome is there already, it failed before it was queued. */
  add(outcome: Outcome): void {
    outcome.number = ++this.put;
    this.#underWay += 1;
  }

  /** Notes that a record was not written. */
  failed(outcome: Outcome, error: Error): void {
    if (this.#over) return;
    this.#failed.push({ outcome, error, at: performance.now() });
    outcome.onReceived = () => {
      this.#release();
    };
    outcome.fail(error);
  }

  /** Notes that `count` more outcomes are known, up to this number. */
  knownTo(number: number, count: number): void {
    this.#underWay -= count;
    this.#known = this.#underWay > 0 ? Math.max(this.#known, number) : this.put;
    this.#release();
  }

  /** Notes that a record that was never queued has failed. The outcomes before it may still be unknown. */
  refused(): void {
    this.#underWay -= 1;
    if (this.#underWay === 0) this.#known = this.put;
    this.#release();
  }

  /** Ends with the lambda; returns the checkpoints that were still held back. */
  end(): number[] {
    this.#over = true;
    const held = this.#held.map(({ offset }) => offset);
    this.#held = [];
    this.#failed = [];
    this.#arm();
    this.#wake();
    return held;
  }

  /** Waits until no checkpoint is held back that was called before the record with this number; by default: any. */
  async released(before = Infinity): Promise<void> {
    while (this.#held[0] !== undefined && this.#held[0].needed < before) {
      await (this.#released ??= new Later<void>()).promise;
    }
  }

  /** The last checkpoint that waits for no record after the one with this number. */
  lastHeld(number: number): Held | undefined {
    return this.#held.findLast(({ needed }) => needed <= number);
  }

  /** Whether a failure that nobody received holds this checkpoint back. */
  isBlocked(held: Held): boolean {
    return this.#failed.some(({ outcome }) => !outcome.received && outcome.number <= held.needed);
  }

  #release(): void {
    if (this.#over) return;
    this.#failed = this.#failed.filter(({ outcome }) => !outcome.received);
    const firstFailed = Math.min(...this.#failed.map(({ outcome }) => outcome.number));
    const passed: Held[] = [];
    for (let held = this.#held[0]; held !== undefined; held = this.#held[0]) {
      if (held.needed > this.#known || held.needed >= firstFailed) break;
      passed.push(held);
      this.#held.shift();
    }
    this.#arm();
    for (const { offset, state } of passed) this.onPass(offset, state);
    if (passed.length > 0) this.#wake();
  }

  /** Sets the timer that fails the lambda, by the oldest failure that nobody received. */
  #arm(): void {
    clearTimeout(this.#timer);
    const oldest = this.#failed[0];
    if (oldest === undefined) {
      this.#blockedAt = undefined;
      return;
    }
    const now = performance.now();
    const isBlocked = this.#held[0] !== undefined && this.#held[0].needed <= this.#known;
    this.#blockedAt = isBlocked ? (this.#blockedAt ?? now) : undefined;
    const lost = this.#failed.find(({ outcome }) => outcome.givenUp);
    const due = Math.min(oldest.at + UNAWAITED_MS, (this.#blockedAt ?? Infinity) + HOLD_MS, lost ? now : Infinity);
    const first = lost ?? this.#failed.reduce((a, b) => (b.outcome.number < a.outcome.number ? b : a));
    this.#timer = setTimeout(() => {
      this.end();
      this.onFailure(first.error);
    }, due - now);
  }

  #wake(): void {
    this.#released?.resolve();
    this.#released = undefined;
  }
}
