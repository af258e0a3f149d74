/** Messages become inserts and checkpoints. */

import { setTimeout as wait } from "node:timers/promises";
import { LambdaCloseType, type IContext, type IPartitionLambda, type Message } from "kafka-sidecar-sdk";
import { Batches, slices, type Batch } from "./batches.js";
import { operationsOf, type Operation } from "./operations.js";
import type { Settings } from "./settings.js";
import { Away, Refused, type Operations } from "./store.js";

/**
 * Stores the operations of one partition. At any time at most one of two things runs: `#storeBatches` while the database
 * is up, `#waitUntilUp` in a pause.
 */
export class ScriptoriumLambda implements IPartitionLambda {
  readonly #batches = new Batches();
  readonly #ending = new AbortController(); // of the waits between the attempts of an insert
  #storing: Promise<void> | undefined;
  #waiting: AbortController | undefined;
  #moved: (() => void)[] = [];
  #failing = 0;
  #isOver = false;

  constructor(
    private readonly store: Operations,
    private readonly settings: Settings,
    private readonly context: IContext,
  ) {}

  /**
   * Takes a message. It returns a promise only when operations must be stored before the next message: so the common
   * case is a plain call, and memory is bounded all the same, also where a boxcar holds many operations.
   */
  handler(message: Message): Promise<void> | undefined {
    this.#stopWaiting(); // the pause is over: this message is the trial
    let operations: Operation[];
    try {
      operations = operationsOf(message.value, message.offset);
    } catch (error) {
      return this.#refuse(error);
    }
    const reached = this.#batches.add(message.offset, operations);
    if (reached !== undefined) this.context.checkpoint(reached);
    else this.#storing ??= this.#storeBatches();
    return this.#batches.pending >= this.settings.max_pending ? this.#room() : undefined;
  }

  /** Waits for the batch in flight, so that its checkpoint counts; other operations come again (SC-12). */
  async close(closeType: LambdaCloseType): Promise<void> {
    this.#stopWaiting();
    this.#isOver = true;
    this.#batches.dropPending();
    this.#move();
    if (closeType === LambdaCloseType.Error || this.#failing > 0) this.#ending.abort();
    await this.#storing;
  }

  async #room(): Promise<void> {
    while (this.#batches.pending >= this.settings.max_pending) await this.#next();
  }

  /**
   * Fails with this message when all messages before it are stored: an operator who skips it then skips nothing else. It
   * is critical for its offset: `on_critical` in the sidecar's config says whether the partition halts.
   */
  async #refuse(error: unknown): Promise<void> {
    while (this.#batches.first !== undefined) await this.#next();
    // In a pause it is delivered again, with the messages before it.
    if (this.#waiting === undefined && !this.#isOver) throw error;
  }

  async #storeBatches(): Promise<void> {
    try {
      for (let batch = this.#batches.take(); batch !== undefined; batch = this.#batches.take()) {
        await this.#storeOne(batch);
        this.context.checkpoint(this.#batches.stored());
        this.#move();
      }
    } catch (error) {
      if (error instanceof Away) {
        this.#pause(error);
      } else {
        // Refused, or a fault of ours or of the driver. Nothing is stuck (SC-9): the next lambda starts after the
        // checkpoint.
        this.#isOver = true;
        const isRefused = error instanceof Refused;
        this.context.error(error, { restart: !isRefused, offset: isRefused ? error.offset : undefined });
      }
    } finally {
      this.#storing = undefined;
      this.#batches.clear();
      this.#move();
    }
  }

  /** Does all inserts at once (SC-5). Returns when all have succeeded; each is tried again by itself. */
  async #storeOne(batch: Batch): Promise<void> {
    const inserts = slices(batch, this.settings.max_db_batch_size).map((part) => this.#insert(part));
    const failures = (await Promise.allSettled(inserts)).flatMap((result) =>
      result.status === "rejected" ? [result.reason as unknown] : [],
    );
    const other = failures.find((failure) => !(failure instanceof Refused)); // first: these are delivered again
    if (other !== undefined) throw other;
    const refused = failures.filter((failure) => failure instanceof Refused).sort((a, b) => a.offset - b.offset);
    if (refused[0] !== undefined) throw refused[0];
  }

  async #insert(operations: readonly Operation[]): Promise<void> {
    let failed = 0;
    try {
      for (const pause of [...this.settings.retry_waits, undefined]) {
        try {
          await this.store.insert(operations, (text, offset) => {
            this.context.report(text, offset);
          });
          return;
        } catch (error) {
          if (!(error instanceof Away) || pause === undefined || this.#isOver) throw error;
          if (failed === 0) this.#failing += failed = 1;
          this.context.log.info(`an insert failed, again in ${String(pause)} s: ${error.message}`);
          await wait(pause * 1000, undefined, { signal: this.#ending.signal }).catch(() => {
            throw error;
          });
        }
      }
    } finally {
      this.#failing -= failed;
    }
  }

  /** The database is down: no restart helps. All unstored operations are delivered again after the pause. */
  #pause(error: Away): void {
    if (this.#isOver) return;
    this.context.pause(this.#batches.first, `operations cannot be stored: ${error.message}`);
    this.#waiting = new AbortController();
    void this.#waitUntilUp(this.#waiting.signal);
  }

  /** It sleeps first: a server that answers a ping but refuses inserts must not be tried in a tight loop. */
  async #waitUntilUp(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await wait(this.settings.health_interval * 1000, undefined, { signal });
        await this.store.ping();
      } catch {
        continue; // still away, or no longer wanted
      }
      if (signal.aborted) return;
      this.#waiting = undefined;
      this.context.resume();
      return;
    }
  }

  #stopWaiting(): void {
    this.#waiting?.abort();
    this.#waiting = undefined;
  }

  #next(): Promise<void> {
    return new Promise((resolve) => this.#moved.push(resolve));
  }

  #move(): void {
    for (const resolve of this.#moved.splice(0)) resolve();
  }
}
