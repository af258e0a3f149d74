/**
 * Run a lambda in a unit test: no Kafka, no gRPC, no ports. The code that calls the lambda is the same as in production;
 * only the stream and the sidecar are simulated.
 *
 * ```ts
 * const sidecar = await FakeSidecar.start(handler, { settings: { collection: "words" } });
 * await sidecar.feed("one", "two");
 * assert.deepEqual(sidecar.checkpoints, [0, 1]);
 * await sidecar.rebalance(); // closes the lambda, and makes a new one after the checkpoint
 * await sidecar.stop();
 * ```
 *
 * @packageDocumentation
 */

import { create } from "@bufbuild/protobuf";
import type * as Api from "@opentelemetry/api";
import { LinkError } from "./errors.js";
import { FakeLink } from "./fake_link.js";
import { batchOf, sentOf } from "./fake_records.js";
import type { Guarantee, Header, ILogger, IPartitionLambdaFactory, IPlugin, MessageHandler } from "./interfaces.js";
import { Life } from "./life.js";
import { limitsOf } from "./limits.js";
import type { Sink } from "./progress.js";
import * as pb from "./protocol/lambda_pb.js";
import { asPlugin } from "./serve.js";
import { settingsOf } from "./settings.js";
import { Turns } from "./timing.js";
import { loadApi } from "./tracing.js";

/** A record of a test; a text is UTF-8. */
export interface FakeRecord {
  value: Uint8Array | string | null;
  key?: Uint8Array | string | null;
  headers?: readonly Header[];
  /** Milliseconds since the Unix epoch. */
  timestamp?: number;
  /** Higher than the last one; default: the next. */
  offset?: number;
}

/** What the sidecar was told by `context.error`, `context.report`, or something that the lambda threw. */
export interface LambdaError {
  action: "restart" | "critical" | "report";
  offset: number | undefined;
  code: string;
  message: string;
  type: string;
}

/** A record that the lambda produced. */
export interface Sent {
  topic: string;
  value: Buffer | null;
  key: Buffer | null;
  headers: readonly Header[];
  /** As the lambda asked for it; undefined: chosen by the key. */
  partition: number | undefined;
  /** The offset that the lambda named as its source. It is told with exactly-once only. */
  source: number | undefined;
}

/** What {@link FakeSidecar.start} takes beside the lambda. */
export interface FakeOptions {
  settings?: Record<string, unknown>;
  topic?: string;
  partition?: number;
  lane?: number;
  lanes?: number;
  startOffset?: number;
  /** What the first lambda finds in its `context.state`. */
  state?: Uint8Array | string;
  maxStateBytes?: number;
  guarantee?: Guarantee;
  /** Whether each checkpoint is committed as soon as it counts. If not, `commit` does it. Default: true. */
  autoCommit?: boolean;
  drainMs?: number;
  log?: ILogger;
}

const ACTIONS = {
  [pb.ErrorAction.UNSPECIFIED]: "report",
  [pb.ErrorAction.RESTART]: "restart",
  [pb.ErrorAction.CRITICAL]: "critical",
  [pb.ErrorAction.REPORT]: "report",
} as const;
const SILENT: ILogger = { info: () => undefined, warn: () => undefined, error: () => undefined };
const DEFAULTS: Required<FakeOptions> = {
  settings: {},
  topic: "test",
  partition: 0,
  lane: 0,
  lanes: 1,
  startOffset: 0,
  state: "",
  maxStateBytes: 2048,
  guarantee: "at-least-once",
  autoCommit: true,
  drainMs: 10_000,
  log: SILENT,
};

/** One partition with a log of records that a test feeds, and a lambda for it. */
export class FakeSidecar {
  /** Every checkpoint that counted, in order. */
  readonly checkpoints: number[] = [];
  /** Every error and report, in order. */
  readonly errors: LambdaError[] = [];
  /** Every record that the lambda produced, in order; with exactly-once those that are visible. */
  readonly sent: Sent[] = [];
  /** With exactly-once: the records that wait for a checkpoint. They are dropped with the lambda. */
  held: readonly Sent[] = [];
  /** The texts of `context.progress` that were sent: at most one a second. */
  readonly progress: string[] = [];
  /** The state of the last checkpoint that counted, which the next lambda gets. */
  state: Buffer;
  /** The latest numbers of `context.completedBeyond`. */
  completedBeyond = { count: 0, bytes: 0 };
  /** The latest numbers of `context.skipped`, of the present lambda. */
  skipped = { count: 0, skipping: [] as readonly string[] };
  /** While this is a text, each produced record fails with it. */
  produceError: string | undefined;
  readonly #options: Required<FakeOptions>;
  readonly #records: Required<FakeRecord>[] = [];
  readonly #ends = new Map<string, number>();
  #factory: IPartitionLambdaFactory | undefined;
  #api: typeof Api | undefined;
  #life: Life | undefined;
  #running: Promise<void> = Promise.resolve();
  #link = new FakeLink(() => undefined);
  #position = 0;
  #pause: pb.Pause | undefined;
  #attempt = 0;
  #leases = 0;

  private constructor(options: FakeOptions) {
    this.#options = { ...DEFAULTS, ...options };
    this.state = Buffer.from(this.#options.state as Uint8Array);
  }

  /** Makes the lambda of one partition. */
  static async start(lambda: MessageHandler | IPlugin, options: FakeOptions = {}): Promise<FakeSidecar> {
    const sidecar = new FakeSidecar(options);
    sidecar.#api = await loadApi();
    sidecar.#factory = await asPlugin(lambda).create(settingsOf(sidecar.#options.settings));
    await sidecar.assign();
    return sidecar;
  }

  /** The last checkpoint; undefined: none yet. */
  get checkpoint(): number | undefined {
    return this.checkpoints.at(-1);
  }

  /** Whether a lambda has the partition. None has after an error, until `restart` or `assign`. */
  get running(): boolean {
    return this.#life !== undefined && this.#life.ending === undefined;
  }

  /** The reason that the lambda gave for its pause; undefined: it is not paused. */
  get paused(): string | undefined {
    return this.running ? this.#pause?.reason : undefined;
  }

  /**
   * Appends to the partition's log; resolves when the lambda has handled the records, paused or ended. Without a running
   * lambda they wait for the next one; in a pause they wait for its end.
   */
  async feed(...records: (FakeRecord | Uint8Array | string | null)[]): Promise<void> {
    for (const one of records) {
      const record = one === null || typeof one === "string" || one instanceof Uint8Array ? { value: one } : one;
      const offset = (this.#records.at(-1)?.offset ?? this.#options.startOffset - 1) + 1;
      this.#records.push({ key: null, headers: [], timestamp: -1, offset, ...record });
    }
    this.#deliver();
    await this.handled();
  }

  /** Resolves when the lambda has handled all that was fed, or ended, or paused and its last handler returned. */
  async handled(): Promise<void> {
    const life = this.#life;
    if (life === undefined) return;
    do {
      await Promise.race([life.dispatcher.idle(), this.#running]);
      await life.producing.drained();
      await new Promise(setImmediate); // what the lambda does when its records are written
    } while (this.running && (life.gate.full || !life.dispatcher.isIdle));
    await Promise.race([life.outcomes.released(), this.#running]);
    if (!this.running) await this.#running;
  }

  /** Resolves when the lambda has ended and is closed. */
  async ended(): Promise<void> {
    await this.#running;
  }

  /** Makes a lambda, and feeds it the records after the last checkpoint. */
  async assign(): Promise<void> {
    if (this.#factory === undefined || this.running) throw new Error("the partition has a lambda: end it first");
    const { startOffset, settings, guarantee, maxStateBytes, drainMs, log } = this.#options;
    this.held = [];
    this.#attempt += 1;
    this.#leases += 1;
    this.#pause = undefined;
    this.#position = this.checkpoint === undefined ? startOffset : this.checkpoint + 1;
    this.#link = new FakeLink((frame) => {
      this.#take(frame);
    });
    const lease = `lease-${String(this.#leases)}`;
    const { state } = this;
    const assigned = { ...this.#options, lease, startOffset: this.#position, attempt: this.#attempt, state };
    const life = new Life(assigned, this.#link, {
      lambdaName: "test",
      factory: this.#factory,
      settings: settingsOf(settings),
      sink: this.#sink(),
      calls: { error: (request) => this.#onError(request), produce: (request) => this.#onProduce(request) },
      turns: new Turns(),
      window: 10_000,
      windowBytes: 16 * 1024 * 1024,
      limits: limitsOf(undefined),
      maxStateBytes,
      exactlyOnce: guarantee === "exactly-once",
      tellsCommitted: true,
      drainMs,
      log,
      api: this.#api,
    });
    this.#life = life;
    this.#running = life.run();
    await life.begun.promise;
    this.#deliver();
    await this.handled();
  }

  /** Ends the lambda's pause, as an operator or its `retryAfterMs` does. */
  async resume(): Promise<void> {
    if (this.#pause === undefined || !this.running) throw new Error("the lambda is not paused");
    this.#endPause();
    await this.handled();
  }

  /** Makes a new lambda, as after an error or a crash. A running one loses its stream. */
  async restart(): Promise<void> {
    this.#link.end(new LinkError("the test broke the stream"));
    await this.#running;
    await this.assign();
  }

  /** Takes the partition away, within this time, and makes a new lambda. */
  async rebalance(deadlineMs = 2000): Promise<void> {
    await this.revoke(deadlineMs);
    this.#attempt = 0;
    await this.assign();
  }

  /** Takes the partition away, as when Kafka gives it to another process. */
  async revoke(deadlineMs = 2000): Promise<void> {
    this.#link.send({ case: "revoked", value: { reason: pb.RevokeReason.REBALANCE, deadlineMs } });
    await this.#running;
  }

  /** Commits the last checkpoint, for code that waits in `context.committed`; resolves when that has been handled. */
  async commit(): Promise<void> {
    if (this.checkpoint === undefined) throw new Error("the lambda has made no checkpoint");
    this.#sendCommitted(this.checkpoint);
    await this.handled();
  }

  /** Takes the partition away since a transaction was aborted: nothing counts that came after the last checkpoint. */
  async abort(): Promise<void> {
    this.held = [];
    this.#link.send({ case: "revoked", value: { reason: pb.RevokeReason.ABORTED, deadlineMs: 0 } });
    await this.#running;
  }

  /** Ends the lambda as SIGTERM does, and the factory with it. */
  async stop(): Promise<void> {
    this.#life?.stop();
    await this.#running;
    await this.#factory?.dispose?.();
  }

  // ------------------------------------------------------------------------------------------------- inside

  #deliver(): void {
    if (!this.running || this.#pause !== undefined) return;
    for (const record of this.#records) {
      if (record.offset < this.#position) continue;
      this.#position = record.offset + 1;
      this.#link.send({ case: "batch", value: batchOf(record) });
    }
  }

  #take({ frame }: pb.LambdaFrame): void {
    if (frame.case === "closed" && frame.value.lastCheckpoint !== undefined) this.#accept(frame.value.lastCheckpoint);
    if (frame.case === "pause") {
      this.#pause = frame.value;
      const least = this.checkpoint === undefined ? this.#options.startOffset : this.checkpoint + 1;
      const { offset } = frame.value;
      if (offset !== undefined) this.#position = Math.max(least, Math.min(Number(offset), this.#position));
    }
    if (frame.case === "resume") this.#endPause();
    if (frame.case === "progress") this.progress.push(frame.value.text);
  }

  #endPause(): void {
    if (this.#pause === undefined) return;
    const { number } = this.#pause;
    this.#pause = undefined;
    this.#link.send({ case: "resumed", value: { number, fromOffset: BigInt(this.#position) } });
    this.#deliver();
  }

  #accept(entry: pb.CheckpointEntry): void {
    this.completedBeyond = { count: entry.completedBeyond, bytes: Number(entry.completedBeyondBytes) };
    this.skipped = { count: Number(entry.skipped), skipping: entry.skipping };
    const offset = Number(entry.offset ?? -1);
    if (offset <= (this.checkpoint ?? -1)) return;
    this.checkpoints.push(offset);
    this.#attempt = 0;
    if (entry.state !== undefined) this.state = Buffer.from(entry.state);
    const waiting = this.held;
    this.held = waiting.filter(({ source }) => (source ?? -1) > offset);
    this.sent.push(...waiting.filter((one) => !this.held.includes(one)));
    if (this.#options.autoCommit) this.#sendCommitted(offset);
  }

  #sendCommitted(offset: number): void {
    this.#link.send({ case: "committed", value: { offset: BigInt(offset) } });
  }

  /** Takes each checkpoint at once, so that a test sees them all. */
  #sink(): Sink {
    const result = create(pb.CheckpointResultSchema, { outcome: pb.CheckpointOutcome.ACCEPTED });
    return {
      commitSpacingMs: 0,
      changed: (progress) => {
        const entry = progress.take();
        if (entry === undefined) return;
        this.#accept(entry);
        progress.answered(entry, result);
      },
      hurry: () => undefined,
      forget: () => undefined,
    };
  }

  #onError(request: pb.ErrorRequest): Promise<pb.ErrorResponse> {
    if (request.lastCheckpoint !== undefined) this.#accept(request.lastCheckpoint);
    const { code, message, type, offset } = request;
    const action = ACTIONS[request.action];
    this.errors.push({ action, offset: offset === undefined ? undefined : Number(offset), code, message, type });
    return Promise.resolve(create(pb.ErrorResponseSchema, { outcome: pb.ErrorOutcome.RESTARTING }));
  }

  #onProduce(request: pb.ProduceRequest): Promise<pb.ProduceResponse> {
    const response = create(pb.ProduceResponseSchema);
    const isHeld = this.#options.guarantee === "exactly-once";
    for (const sent of sentOf(request)) {
      const at = `${sent.topic}/${String(sent.partition ?? 0)}`;
      const end = this.#ends.get(at) ?? 0;
      const isRefused = this.produceError !== undefined;
      const isWritten = !isRefused && !isHeld;
      response.outcomes.push(isRefused ? pb.ProduceOutcome.FAILED : pb.ProduceOutcome[isHeld ? "HELD" : "WRITTEN"]);
      response.partitions.push(isWritten ? (sent.partition ?? 0) : -1);
      response.offsets.push(isWritten ? BigInt(end) : -1n);
      response.errors.push(this.produceError ?? "");
      if (isRefused) continue;
      if (isWritten) this.#ends.set(at, end + 1);
      if (isWritten) this.sent.push(sent);
      else this.held = [...this.held, sent];
    }
    if (request.commit !== undefined && this.produceError === undefined) {
      this.#accept(request.commit);
      response.commit = create(pb.CheckpointResultSchema, { outcome: pb.CheckpointOutcome.ACCEPTED });
    }
    return Promise.resolve(response);
  }
}
