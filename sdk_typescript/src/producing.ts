/**
 * What a lambda writes to Kafka: records wait here, and go to the sidecar in as few calls as possible.
 *
 * One call of a lease is under way at a time, so the records arrive in the order in which they were produced. Records
 * that come meanwhile go with the next call: a slow broker makes calls larger, not more.
 *
 * With exactly-once the sidecar holds the records until a checkpoint. The last checkpoint that was called after records
 * that wait goes with them, in one request; the records that were produced after it go with the next. A checkpoint that
 * has no records to go with is sent in a call of its own, and records wait until that is answered: they would become
 * visible with it. `LeaseProgress` decides which of the two is first.
 */

import { LinkError, messageOf, ProduceError, TooLargeError, type ProduceFailure } from "./errors.js";
import type { ProduceOptions } from "./interfaces.js";
import { exact, nameOf, type Limits } from "./limits.js";
import { Outcome, type Held, type Outcomes } from "./outcomes.js";
import type { LeaseProgress } from "./progress.js";
import { ProduceOutcome, type ProduceRequest, type ProduceResponse } from "./protocol/lambda_pb.js";
import { checkedRecord, requestOf, type Waiting } from "./records.js";
import { Later, sleep } from "./timing.js";

/** When so much waits, no handler is called until half of it is gone. */
const HIGH_BYTES = 4 * 1024 * 1024;
const HIGH_RECORDS = 20_000;
/** Records beyond this fail: they come from code that ignores back-pressure. */
const MAX_WAITING_BYTES = 64 * 1024 * 1024;
const MIN_BUSY_WAIT_MS = 5;

const KINDS: Partial<Record<ProduceOutcome, ProduceFailure>> = {
  [ProduceOutcome.STALE_LEASE]: "stale_lease",
  [ProduceOutcome.TOPIC_NOT_ALLOWED]: "not_allowed",
  [ProduceOutcome.TOO_LARGE]: "too_large",
  [ProduceOutcome.TOO_MUCH_HELD]: "too_much_held",
};

/** Records that travel together, and the checkpoint that becomes visible with them. */
interface Unit {
  readonly batch: readonly Waiting[];
  readonly held: Held | undefined;
}

/** The records of one lease on their way to the sidecar. @internal */
export class Producing {
  #queue: Waiting[] = [];
  #underWay: readonly Waiting[] = [];
  #bytes = 0;
  #records = 0;
  #isFull = false;
  #isSending = false;
  #over = "";
  #drained: Later<void> | undefined;
  readonly #ended = new AbortController();

  constructor(
    private readonly lease: string,
    private readonly call: (request: ProduceRequest) => Promise<ProduceResponse>,
    private readonly onFull: (isFull: boolean) => void,
    readonly outcomes: Outcomes,
    private readonly limits: Limits,
    /** With exactly-once: the checkpoints that go with records; and what to do when nobody knows of such a request. */
    private readonly commits?: { readonly progress: LeaseProgress; readonly onUnknown: (error: ProduceError) => void },
  ) {}

  /** Produces a record. Throws `TypeError` or `RangeError` when it is none. */
  put(topic: string, value: Uint8Array | string | null, options: ProduceOptions = {}): Outcome {
    const outcome = new Outcome();
    const waiting = checkedRecord(topic, value, options, outcome);
    const { size } = waiting;
    const most = this.limits.requestBytes - 4096; // for the other fields of a request that carries it alone
    this.outcomes.add(outcome);
    if (options.signal !== undefined) outcome.until(options.signal);
    if (this.#over !== "") {
      this.#refuse(waiting, this.#over, "stale_lease");
    } else if (size > most) {
      const text = `${String(size)} bytes; a record has at most ${String(most)} on its way through the sidecar`;
      this.#refuse(waiting, text, "too_large");
    } else if (this.#bytes + size > MAX_WAITING_BYTES) {
      this.#refuse(waiting, `${String(this.#bytes)} bytes wait already; await them before there is more`, "failed");
    } else {
      this.#queue.push(waiting);
      this.#weigh(size, 1);
      if (!this.#isSending) void this.#sendAll();
    }
    return outcome;
  }

  /** Waits until the outcome of all that was produced is known. */
  async drained(): Promise<void> {
    while (this.#isSending && this.#over === "") await (this.#drained ??= new Later<void>()).promise;
  }

  /** Takes no more records, and fails those without an outcome; returns the checkpoints that waited for them. */
  end(why: string): number[] {
    const held = this.outcomes.end();
    if (this.#over !== "") return held;
    this.#over = why;
    this.#ended.abort();
    const left = [...this.#underWay, ...this.#queue];
    this.#underWay = this.#queue = [];
    for (const { outcome, topic } of left) outcome.fail(new ProduceError(why, topic, "failed"));
    this.#wake();
    return held;
  }

  #refuse(waiting: Waiting, text: string, kind: ProduceFailure): void {
    fail(this.outcomes, waiting, new ProduceError(text, waiting.topic, kind));
    this.outcomes.refused();
  }

  async #sendAll(): Promise<void> {
    this.#isSending = true;
    await Promise.resolve(); // what the handler produces in a row travels together
    while (this.#queue.length > 0) {
      await this.#turn();
      if (this.#isOver()) return;
      const { batch, held } = this.#taken();
      this.#underWay = batch;
      await this.#send(batch, held);
      this.commits?.progress.release();
      if (this.#isOver()) return;
      this.#underWay = [];
      const size = batch.reduce((sum, record) => sum + record.size, 0);
      this.#weigh(-size, -batch.length);
      this.outcomes.knownTo(batch[batch.length - 1]?.outcome.number ?? 0, batch.length);
    }
    this.#isSending = false;
    this.#wake();
  }

  /** Waits until no checkpoint has to go before the first record that waits. */
  async #turn(): Promise<void> {
    if (this.commits === undefined) return;
    const { progress } = this.commits;
    await this.outcomes.released(this.#queue[0]?.outcome.number);
    while (!this.#isOver() && !progress.overtake()) await progress.moved();
  }

  /** Whether it has ended. It may have while something was awaited. */
  #isOver(): boolean {
    return this.#over !== "";
  }

  /** Takes the records of the next request off the queue. */
  #taken(): Unit {
    const count = this.#fitting();
    const last = this.#queue[count - 1]?.outcome.number ?? 0;
    const held = this.commits === undefined ? undefined : this.outcomes.lastHeld(last);
    if (held === undefined) return { batch: this.#queue.splice(0, count), held };
    const batch = this.#queue.splice(0, this.#queue.findLastIndex(({ outcome }) => outcome.number <= held.needed) + 1);
    return { batch, held: this.outcomes.isBlocked(held) ? undefined : held };
  }

  /** How many of the records that wait fit into one request. */
  #fitting(): number {
    const { produceRecords, produceTopics, requestBytes } = this.limits;
    const maxBytes = (requestBytes * 900) / 1024; // room for what the sizes of records do not count
    const topics = new Set<string>();
    let size = 0;
    let count = 0;
    for (const waiting of this.#queue) {
      size += waiting.size;
      topics.add(waiting.topic);
      if (count > 0 && (count >= produceRecords || size > maxBytes || topics.size > produceTopics)) break;
      count += 1;
    }
    return count;
  }

  /** Sends a batch; returns when the outcome of each of its records is there. */
  async #send(batch: readonly Waiting[], held?: Held): Promise<void> {
    const request = requestOf(this.lease, batch, this.commits !== undefined);
    const commit = held === undefined ? undefined : this.commits?.progress.commitOf(held);
    if (commit !== undefined) request.commit = commit;
    try {
      const response = await this.#answer(request);
      if (held !== undefined && commit !== undefined) this.commits?.progress.committed(held, commit, response.commit);
      const topics = new Set(batch.map(({ topic }) => topic));
      if (topics.size > 1 && response.outcomes.every((one) => one === ProduceOutcome.TOPIC_NOT_ALLOWED)) {
        // Nothing was written because of one topic. The records of the others shall not fail with it.
        for (const topic of topics) await this.#send(batch.filter((record) => record.topic === topic));
        return;
      }
      this.#settle(batch, response);
    } catch (error) {
      if (error instanceof TooLargeError) {
        await this.#sendHalves(batch, error.message); // and its checkpoint after them
        return;
      }
      const why = messageOf(error);
      this.#failAll(batch, why);
      if (commit === undefined || this.#isOver()) return;
      const text = `whether the transaction with checkpoint ${String(commit.offset)} is committed is not known: ${why}`;
      this.commits?.onUnknown(new ProduceError(text, batch[0]?.topic ?? "", "failed"));
    }
  }

  #settle(batch: readonly Waiting[], { outcomes, partitions, offsets, errors }: ProduceResponse): void {
    const lengths = [outcomes.length, partitions.length, offsets.length, errors.length || batch.length];
    if (lengths.some((length) => length !== batch.length)) {
      throw new LinkError(`the sidecar answered for ${String(outcomes.length)} of ${String(batch.length)} records`);
    }
    const exactly = offsets.map((offset) => exact(offset, "ProduceResponse.offsets"));
    batch.forEach((waiting, index) => {
      const outcome = outcomes[index] ?? ProduceOutcome.UNSPECIFIED;
      const isHeld = outcome === ProduceOutcome.HELD && this.commits !== undefined;
      if (outcome === ProduceOutcome.WRITTEN || isHeld) {
        waiting.outcome.resolve({
          topic: waiting.topic,
          partition: partitions[index] ?? -1,
          offset: exactly[index] ?? -1,
        });
      } else {
        const text = errors[index] || `the sidecar's answer is ${nameOf(ProduceOutcome, outcome)}`;
        fail(this.outcomes, waiting, new ProduceError(text, waiting.topic, KINDS[outcome] ?? "failed"));
      }
    });
  }

  /** As a whole it is too large, and would be refused for ever. */
  async #sendHalves(batch: readonly Waiting[], refused: string): Promise<void> {
    const [first] = batch;
    if (first !== undefined && batch.length === 1) {
      fail(this.outcomes, first, new ProduceError(refused, first.topic, "too_large"));
      return;
    }
    const middle = batch.length >> 1;
    await this.#send(batch.slice(0, middle));
    await this.#send(batch.slice(middle));
  }

  /** Sends a request until the sidecar is not busy, for the lease's life if need be. */
  async #answer(request: ProduceRequest): Promise<ProduceResponse> {
    for (;;) {
      if (this.#over !== "") throw new LinkError(this.#over);
      const response = await this.call(request);
      const isBusy = response.outcomes.length > 0 && response.outcomes.every((one) => one === ProduceOutcome.BUSY);
      if (!isBusy) return response;
      await sleep(Math.max(MIN_BUSY_WAIT_MS, response.retryAfterMs), this.#ended.signal);
    }
  }

  #failAll(batch: readonly Waiting[], why: string): void {
    for (const waiting of batch) fail(this.outcomes, waiting, new ProduceError(why, waiting.topic, "failed"));
  }

  /** Tells when so many records wait that no handler may be called, and when half of them are gone. */
  #weigh(bytes: number, records: number): void {
    this.#bytes += bytes;
    this.#records += records;
    const share = this.#isFull ? 0.5 : 1;
    const isFull = this.#bytes > HIGH_BYTES * share || this.#records > HIGH_RECORDS * share;
    if (isFull === this.#isFull) return;
    this.#isFull = isFull;
    this.onFull(isFull);
  }

  #wake(): void {
    this.#drained?.resolve();
    this.#drained = undefined;
  }
}

function fail(outcomes: Outcomes, waiting: Waiting, error: ProduceError): void {
  outcomes.failed(waiting.outcome, error);
  waiting.outcome.fail(error); // where the outcomes have ended, it is told all the same
}
