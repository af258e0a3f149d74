/** Waiting with an end, and turns on the event loop. */

import { performance } from "node:perf_hooks";

/** A point in time that several steps share. @internal */
export class Deadline {
  readonly #start = performance.now();
  constructor(private readonly ms: number) {}

  /** Milliseconds until this share (0 to 1) of the whole time is over; 0 when it is. */
  left(share: number): number {
    return Math.max(0, this.#start + this.ms * share - performance.now());
  }
}

/** Waits until a promise is settled, for so long at most; returns whether it is. @internal */
export async function within(promise: PromiseLike<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, ms, false);
  });
  const settled = promise.then(
    () => true,
    () => true,
  );
  const result = await Promise.race([settled, over]);
  clearTimeout(timer);
  return result;
}

/** Waits for so long, or until the signal is aborted. @internal */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) {
      resolve();
      return;
    }
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end);
  });
}

/** A promise that is resolved from elsewhere. @internal */
export class Later<T> {
  resolve!: (value: T) => void;
  reject!: (error: unknown) => void;
  readonly promise = new Promise<T>((resolve, reject) => {
    this.resolve = resolve;
    this.reject = reject;
  });
}

const TURN_MS = 5;
const SERVED_PER_ROUND = 8;

/**
 * Which partition calls its handler next. In each round of the event loop the handlers of all partitions run for five
 * milliseconds in total; then reading, checkpoints, timers and the lambdas' own work have their turn. A dispatcher that
 * finds the time used up waits in a queue. The next rounds serve it from its head, and each that is served handles one
 * message at least. @internal
 */
export class Turns {
  #until = 0;
  #counting = false;
  readonly #queue: (() => void)[] = [];

  /** Whether the time of this round is used up. */
  over(): boolean {
    if (this.#counting) return performance.now() >= this.#until;
    this.#begin();
    return false;
  }

  /** Waits for the next turn. */
  next(): Promise<void> {
    const turn = new Promise<void>((resolve) => this.#queue.push(resolve));
    if (!this.#counting) this.#begin();
    return turn;
  }

  /** Waits for a turn after standing still, unless it may begin at once. */
  async begin(): Promise<void> {
    if (this.#queue.length > 0 || this.over()) await this.next();
  }

  #begin(): void {
    this.#counting = true;
    this.#until = performance.now() + TURN_MS;
    setImmediate(() => {
      this.#counting = false;
      if (this.#queue.length === 0) return;
      this.#begin();
      for (const resolve of this.#queue.splice(0, SERVED_PER_ROUND)) resolve();
    });
  }
}
