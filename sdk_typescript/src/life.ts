/**
 * One lease's life in this process, from Assigned to Closed.
 *
 * A life ends once, for the first of four reasons: it is revoked by the sidecar; the lambda has failed; the process has
 * stopped; the stream is lost. The code that notices the reason sets `ending` and stops the dispatcher in one step; for
 * a failure it also seals the checkpoints. No await lies between, so no handler call and no checkpoint slips in. Later
 * reasons only change how much of the end can still be told to the sidecar.
 *
 * | reason | running handler | close | told to the sidecar |
 * | --- | --- | --- | --- |
 * | revoked | is told by `context.signal` at 70 % of the deadline | Rebalance, or Stop | Closed(REVOKED) at 90 % at the latest |
 * | stopped | the same with the drain time | Stop | Closed(STOPPED) |
 * | failed | the same | Error | Error, and Closed(ERROR) when it is answered |
 * | lost, or revoked with deadline 0 | is told at once | Error; as revoked | nothing; Closed without a checkpoint |
 *
 * `close` is called when the last handler has returned, never beside it. A handler that outlives the deadline does not
 * hold up Closed; the life goes on until it has returned and `close` has ended, and only then the process makes another
 * lambda of the partition: the lease fences the checkpoints of the old one, but not what it writes to a database.
 */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { Link } from "./connection.js";
import { Committed } from "./committed.js";
import { PartitionContext, placeOf, type Lease } from "./context.js";
import { Dispatcher, HandlerFailedError } from "./dispatcher.js";
import { closedReason, closeType, isDead, type Ending } from "./ending.js";
import { messageOf, NotCommittedError, ProduceError } from "./errors.js";
import type { Host } from "./host.js";
import type { ILogger, IPartitionLambda } from "./interfaces.js";
import { exact, nameOf } from "./limits.js";
import { Outcomes } from "./outcomes.js";
import { PauseGate } from "./pause_gate.js";
import { Producing } from "./producing.js";
import { LeaseProgress } from "./progress.js";
import { prefixed } from "./log.js";
import * as pb from "./protocol/lambda_pb.js";
import { Reporting, type Failure } from "./reporting.js";
import { Signs } from "./signs.js";
import { Deadline, Later, within } from "./timing.js";
import { tracingOf } from "./tracing.js";

// Shares of the time from the end's beginning to its deadline.
const TELL_SHARE = 0.7;
const CLOSED_SHARE = 0.9;
const END_TIMEOUT_MS = 5000; // from Closed until the sidecar has ended the stream

/** One lease. `run` it once; it is over when the lambda is closed and the stream has ended. @internal */
export class Life {
  readonly log: ILogger;
  readonly progress: LeaseProgress;
  readonly dispatcher: Dispatcher;
  readonly gate: PauseGate;
  readonly outcomes: Outcomes;
  readonly producing: Producing;
  readonly context: PartitionContext;
  /** Why it ends; undefined while it goes on. */
  ending: Ending | undefined;
  /** Resolves when the lambda is made and Ready was sent, or the life has ended before. */
  readonly begun = new Later<void>();
  /** What still ran when its time was over, in words. */
  left: string | undefined;
  readonly #ended = new Later<Ending>();
  readonly #signal = new AbortController();
  readonly #linkOver = new AbortController();
  readonly #streamEnd = new Later<void>();
  readonly #reporting: Reporting;
  readonly #committed: Committed;
  readonly #signs = new Signs();
  readonly #due = new Later<void>(); // when Closed cannot wait, whatever still runs
  #ready = false;
  #request: pb.ErrorRequest | undefined; // of the failure that ends this life
  #final: { readonly entry: pb.CheckpointEntry | undefined } | undefined; // sealed by a failure during the end

  constructor(
    private readonly lease: Lease,
    private readonly link: Link,
    private readonly host: Host,
  ) {
    const { topic, partition } = lease;
    // Only the beginning of the lease is shown: all of it allows to checkpoint.
    this.log = prefixed(host.log, `${host.lambdaName} ${placeOf(lease)} [${lease.lease.slice(0, 8)}]`);
    this.#committed = new Committed(host.tellsCommitted);
    this.progress = new LeaseProgress(lease.lease, host.window, lease.startOffset ?? 0, host.sink, host.windowBytes);
    const tracing = tracingOf(host.api, host.lambdaName, topic, partition, this.#signal.signal);
    this.dispatcher = new Dispatcher(this.progress, host.turns, tracing);
    this.gate = new PauseGate(topic, partition, this.progress, this.dispatcher, host.window, this.log);
    this.gate.onReading = (reading) => {
      link.read(reading);
    };
    this.outcomes = new Outcomes(
      (offset, state) => {
        this.progress.passed(offset, state);
      },
      (error) => {
        this.#notReceived(error);
      },
    );
    this.producing = this.#newProducing();
    this.#reporting = new Reporting(lease.lease, host.calls, this.#linkOver.signal, this.log);
    const parts = {
      progress: this.progress,
      gate: this.gate,
      producing: this.producing,
      committed: this.#committed,
      signs: this.#signs,
      maxStateBytes: host.maxStateBytes,
      onFailure: (failure: Failure) => {
        this.#fail(failure);
      },
      onReport: (failure: Failure) => {
        this.#report(failure);
      },
      tracing,
    };
    const guarantee = host.exactlyOnce ? "exactly-once" : "at-least-once";
    this.context = new PartitionContext(lease, parts, guarantee, this.#signal.signal, this.log);
    this.#listen();
  }

  #listen(): void {
    this.link.onFrame = (frame) => {
      this.#take(frame);
    };
    this.link.onEnd = (error) => {
      this.#linkOver.abort();
      this.#committed.end("the stream to the sidecar is over");
      this.#end({ kind: "lost", why: error === undefined ? "the sidecar ended it" : messageOf(error) });
      this.#streamEnd.resolve();
    };
  }

  #newProducing(): Producing {
    const { calls, exactlyOnce, limits } = this.host;
    const produce = calls.produce.bind(calls);
    const fill = (full: boolean): void => {
      this.gate.fill(full);
    };
    const onUnknown = (error: ProduceError): void => {
      this.#failToProduce(error);
    };
    const commits = exactlyOnce ? { progress: this.progress, onUnknown } : undefined;
    return new Producing(this.lease.lease, produce, fill, this.outcomes, limits, commits);
  }

  /** Ends in order: the running handler may finish, then come `close` and Closed. */
  stop(): void {
    this.#end({ kind: "stopped" });
  }

  /** What has not ended yet, in words. */
  get unfinished(): string {
    const offset = this.dispatcher.workingOn;
    const what = offset === undefined ? "create or close" : `the handler at offset ${String(offset)}`;
    return `${placeOf(this.lease)}: ${what}`;
  }

  /** Lives. `after`: an earlier life of the partition, or of this lane of it, in this process, which has to be over before. */
  async run(after?: Promise<void>): Promise<void> {
    if (after !== undefined && !(await within(after, 0))) {
      this.log.info("waits for the partition's earlier lambda here to close");
      await Promise.race([after, this.#ended.promise]);
    }
    const making = this.ending === undefined ? this.#make() : Promise.resolve(undefined);
    const running = making.then((lambda) => this.#serve(lambda));
    const ending = await this.#ended.promise;
    this.begun.resolve();
    const deadline = this.#deadline(ending);
    const closing = this.#afterwards(making, running, ending);
    const told = this.#tell(ending);
    const telling = setTimeout(() => {
      this.#signal.abort();
    }, deadline.left(TELL_SHARE));
    if (isDead(ending)) this.#signal.abort();
    await within(Promise.race([closing, this.#due.promise]), deadline.left(CLOSED_SHARE));
    clearTimeout(telling);
    this.#signal.abort();
    await this.#sayClosed(ending, await told, deadline);
    if (!(await within(closing, this.host.drainMs))) {
      this.left = this.unfinished;
      this.log.error(`left behind, it does not end: ${this.unfinished}`);
    }
    await after; // it may outlive a life that ended while it waited for it
  }

  // --------------------------------------------------------------------------------------- what ends a life

  /** Ends for this reason, unless there is one already. */
  #end(ending: Ending): void {
    if (this.ending !== undefined) return;
    this.ending = ending;
    this.gate.end();
    if (isDead(ending)) this.#void(ending.kind === "lost" ? "the stream to the sidecar broke" : "the lease is over");
    this.#ended.resolve(ending);
  }

  /** Nothing counts any more that the lambda does. */
  #void(why: string): void {
    this.progress.seal();
    this.producing.end(why);
    this.#committed.end(why);
    this.#signs.end();
  }

  #deadline(ending: Ending): Deadline {
    if (ending.kind === "revoked" && ending.revoked.deadlineMs > 0) return ending.deadline;
    return new Deadline(Math.min(this.host.drainMs, this.host.limits.closeTimeoutMs));
  }

  /** What the lambda produced was not written, and nobody awaited its outcome. */
  #notReceived(error: Error): void {
    const told =
      error instanceof ProduceError
        ? new ProduceError(`${error.reason}; nobody awaited its outcome`, error.topic, error.kind)
        : error;
    this.#failToProduce(told);
  }

  #failToProduce(error: Error): void {
    const action = pb.ErrorAction.RESTART;
    this.#fail({ kind: "failed", error, action, offset: undefined, code: "produce_failed" });
  }

  #fail(failure: Failure): void {
    const at = failure.offset === undefined ? "" : ` at offset ${String(failure.offset)}`;
    const isCritical = failure.action === pb.ErrorAction.CRITICAL;
    const text = `${isCritical ? "critical" : "recoverable"} error${at} (${failure.code}): ${messageOf(failure.error)}`;
    this.log[isCritical ? "error" : "warn"](text, failure.error instanceof Error ? failure.error : undefined);
    if (this.ending !== undefined) {
      // The partition is being taken back or stopped. Its next owner meets the same failure, and can tell it with its
      // lease. Nothing at or above the message may count as done.
      this.#final ??= { entry: this.progress.seal(failure.offset) };
      this.#afterFailure();
      return;
    }
    const request = this.#reporting.request(failure);
    const entry = this.progress.seal(failure.offset);
    this.#afterFailure();
    if (entry !== undefined) request.lastCheckpoint = entry;
    this.#request = request;
    this.#end(failure);
  }

  /** With exactly-once, what waits to be sent would become visible with the last checkpoint: it does not belong to it. */
  #afterFailure(): void {
    if (this.host.exactlyOnce) this.producing.end("the lambda has failed");
    this.#committed.end("the lambda has failed");
    this.#signs.end();
  }

  #report(failure: Failure): void {
    if (this.ending === undefined) this.#reporting.report(failure);
    else this.log.warn(`not reported, since the lease is over: ${messageOf(failure.error)}`);
  }

  #take({ frame }: pb.HostFrame): void {
    if (frame.case === "batch") {
      this.gate.take(frame.value);
    } else if (frame.case === "resumed") {
      this.gate.resumed(frame.value);
    } else if (frame.case === "committed") {
      this.#committed.take(exact(frame.value.offset, "Committed.offset"));
    } else if (frame.case === "revoked") {
      const { reason, deadlineMs } = frame.value;
      this.log.info(`revoked: ${nameOf(pb.RevokeReason, reason)}, ${String(deadlineMs)} ms`);
      const isStopping = this.ending?.kind === "stopped";
      this.#end({ kind: "revoked", revoked: frame.value, deadline: new Deadline(deadlineMs) });
      if (isStopping) this.#closeWithin(deadlineMs);
    }
  }

  /** The partition is revoked while the process stops: the sidecar's deadline may be the earlier one. */
  #closeWithin(deadlineMs: number): void {
    if (deadlineMs === 0) this.#void("the lease is over");
    setTimeout(() => {
      this.#signal.abort();
    }, deadlineMs * TELL_SHARE);
    setTimeout(() => {
      this.#due.resolve();
    }, deadlineMs * CLOSED_SHARE);
  }

  // ---------------------------------------------------------------------------------------- the lambda's code

  async #make(): Promise<IPartitionLambda | undefined> {
    try {
      const lambda = await this.host.factory.create(this.host.settings, this.context);
      if (typeof (lambda as { handler?: unknown } | undefined)?.handler !== "function") {
        throw new TypeError("factory.create returned no lambda: an object with a method handler(message)");
      }
      return lambda;
    } catch (error) {
      const action = pb.ErrorAction.RESTART;
      this.#fail({ kind: "failed", error, action, offset: undefined, code: "create_failed" });
      return undefined;
    }
  }

  /** Sends Ready, and calls the handler until the end. */
  async #serve(lambda: IPartitionLambda | undefined): Promise<void> {
    if (lambda === undefined || this.ending !== undefined) return;
    this.gate.lambda = lambda;
    this.#ready = true;
    this.#write({ frame: { case: "ready", value: { lease: this.context.lease } } });
    this.gate.open((frame) => {
      this.link.write(frame);
    });
    this.#signs.open((text) => {
      this.#write({ frame: { case: "progress", value: { text } } });
    });
    const start = this.context.startOffset === undefined ? "not known" : String(this.context.startOffset);
    this.log.info(`ready (start offset ${start}, attempt ${String(this.context.attempt)})`);
    this.begun.resolve();
    try {
      await this.dispatcher.run((message) => lambda.handler(message));
    } catch (error) {
      const offset = error instanceof HandlerFailedError ? error.offset : undefined;
      const cause = error instanceof HandlerFailedError ? error.cause : error;
      const isOver = this.#committed.isOver && cause instanceof NotCommittedError;
      if (isOver || (offset !== undefined && cause === this.#signal.signal.reason)) return; // it was told to end
      const action = pb.ErrorAction.CRITICAL;
      this.#fail({ kind: "failed", error: cause, action, offset, code: "handler_failed" });
    }
  }

  /** Closes the lambda when its last handler has returned, and waits for what it has produced. */
  async #afterwards(
    making: Promise<IPartitionLambda | undefined>,
    running: Promise<void>,
    ending: Ending,
  ): Promise<void> {
    if (ending.kind === "lost") this.log.warn(`the stream broke, this lambda ends: ${ending.why}`);
    await running;
    const lambda = await making;
    try {
      await lambda?.close?.(closeType(ending));
    } catch (error) {
      this.log.error(`close failed: ${messageOf(error)}`, error);
    }
    // What it produced has to arrive before another lambda gets the partition.
    await this.producing.drained();
    await this.outcomes.released();
  }

  // ------------------------------------------------------------------------------- what the sidecar is told

  /**
   * Sends Error for a failure; returns whether Closed may follow. It may not after an Error that did not arrive: then
   * the stream breaks, and that makes the sidecar start the lambda again.
   */
  async #tell(ending: Ending): Promise<boolean> {
    if (this.#request !== undefined) return this.#reporting.send(this.#request);
    return ending.kind !== "lost";
  }

  async #sayClosed(ending: Ending, mayClose: boolean, deadline: Deadline): Promise<void> {
    const held = this.producing.end("the partition's lambda has ended");
    this.#committed.end("the partition's lambda has ended");
    this.#signs.end();
    const last = held[held.length - 1];
    if (last !== undefined && ending.kind !== "failed" && mayClose) {
      this.log.error(`no checkpoint at offset ${String(last)}: what was produced before it is not known to be written`);
    }
    const entry = this.#final === undefined ? this.progress.seal() : this.#final.entry;
    if (mayClose && !this.#linkOver.signal.aborted) {
      const value: MessageInitShape<typeof pb.ClosedSchema> = { reason: closedReason(ending, this.#ready) };
      if (entry !== undefined) value.lastCheckpoint = entry;
      this.#write({ frame: { case: "closed", value } });
      this.link.halfClose();
      const checkpoint = entry?.offset === undefined ? "none" : String(entry.offset);
      this.log.info(`closed: ${ending.kind}, last checkpoint ${checkpoint}`);
      await within(this.#streamEnd.promise, Math.max(END_TIMEOUT_MS, deadline.left(1)));
    }
    this.link.cancel();
  }

  #write(frame: MessageInitShape<typeof pb.LambdaFrameSchema>): void {
    this.link.write(create(pb.LambdaFrameSchema, frame));
  }
}
