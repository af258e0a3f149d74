/**
 * The four interfaces between a lambda and the sidecar.
 *
 * Their names and signatures are those of Fluid Framework's kafka-service: a lambda that was written for it moves here
 * when its imports are changed. What kafka-service does not have is marked "not in kafka-service".
 */

/* eslint-disable @typescript-eslint/no-explicit-any -- kafka-service's own types say `any` at these places */

/** What kafka-service calls a message. {@link Message} is what the SDK delivers. */
export interface IQueuedMessage {
  topic: string;
  partition: number;
  offset: number;
  value: any;
  timestamp?: number | undefined;
}

/**
 * A header: its name and its value, which may be null. A name that is not UTF-8 has each of its bytes from 0x80 on as
 * the character U+DC00 + byte, and is written back as the same bytes by {@link IContext.produce}.
 */
export type Header = readonly [name: string, value: Buffer | null];

/** One message of a partition. */
export interface Message extends IQueuedMessage {
  /**
   * As node-rdkafka delivers it in kafka-service: the bytes, not parsed; null is a tombstone. It is a view of the frame
   * in which many messages came: to keep it for long, copy it with `Buffer.from`.
   */
  value: Buffer | null;
  /** null is no key, which is not the same as an empty key in Kafka. */
  key: Buffer | null;
  /** In the producer's order, with duplicates. */
  headers: readonly Header[];
  /** Milliseconds since the Unix epoch; undefined: the message has none. */
  timestamp: number | undefined;
  /** Who set the timestamp: the producer ("create") or the broker ("append"). */
  timestampType: "create" | "append" | undefined;
}

/** Why a lambda is closed. Checkpoints made in `close` count, except with `Error`. */
export enum LambdaCloseType {
  /** The process or the sidecar ends in order, or an operator pauses or moves the partition. */
  Stop = "Stop",
  /** Only kafka-service's document router uses it, for its documents. */
  ActivityTimeout = "ActivityTimeout",
  /** Another process gets the partition. */
  Rebalance = "Rebalance",
  /** The lambda failed, or the stream to the sidecar broke. */
  Error = "Error",
}

/** A log, such as {@link IContext.log}. */
export interface ILogger {
  info(message: string, metaData?: any): void;
  warn(message: string, metaData?: any): void;
  error(message: string, metaData?: any): void;
}

/** What becomes of a partition whose lambda called {@link IContext.error}. */
export interface IContextErrorData {
  /**
   * True: recoverable, such as a database that is away. The sidecar starts a new lambda after a back-off. False:
   * critical; the lambda's `on_critical` in the sidecar's config decides (kafka-service only logs it).
   */
  restart: boolean;
  /** The message that failed. Without it none can be skipped or become a dead letter. Not in kafka-service. */
  offset?: number | undefined;
  /** The message that failed, as kafka-service says it. */
  markAsCorrupt?: IQueuedMessage;
  tenantId?: string;
  documentId?: string;
  errorLabel?: string;
}

/**
 * Where a record was written. With exactly-once it is held until a checkpoint, and where it will be is not known yet:
 * partition and offset are -1.
 */
export interface Produced {
  topic: string;
  partition: number;
  offset: number;
}

/**
 * What the lambda's `guarantee` in the sidecar's config promises. `at-least-once`: what a lambda produces is written as it
 * comes, and again after a failure. `exactly-once`: it becomes visible together with the checkpoint that covers it, or
 * never.
 */
export type Guarantee = "at-least-once" | "exactly-once";

/** What {@link IContext.produce} takes beside topic and value. */
export interface ProduceOptions {
  key?: Uint8Array | string | null;
  headers?: Iterable<readonly [name: string, value: Uint8Array | string | null]>;
  /** Default: by the key, as the Java client does; without a key any. */
  partition?: number;
  /**
   * The offset of the message from which the record was made. With exactly-once the record waits for a checkpoint at it
   * or above it; without it the record goes with the first checkpoint that is called after it. Name it where handlers
   * overlap. It has no meaning with at-least-once.
   */
  source?: number;
  /** Gives up the wait for the outcome, not the record: if the record fails later, the lambda fails. */
  signal?: AbortSignal;
}

/**
 * What a lambda can say about its partition. One context belongs to one lambda. All methods return at once. Those that
 * check their arguments throw `TypeError` or `RangeError`.
 */
export interface IContext {
  /** Not in kafka-service, as all properties but `log`. */
  readonly topic: string;
  readonly partition: number;
  /**
   * Which lane of the partition this is, from 0, and how many it has: 1 without `lanes` in the sidecar's config. A lane
   * has the messages of some of the partition's keys, in order; other lambdas have the other lanes at the same time.
   */
  readonly lane: number;
  readonly lanes: number;
  /** The id of this assignment of the partition to this lambda: random, and new for each assignment. */
  readonly lease: string;
  /** The first message has this offset or a higher one; undefined: not known yet. */
  readonly startOffset: number | undefined;
  /** 1 for the first lambda that starts at this offset, then 2, 3, ... while each fails without a checkpoint. */
  readonly attempt: number;
  /** The state that was given with the checkpoint before `startOffset`, or the last one before that; empty: none. */
  readonly state: Buffer;
  readonly guarantee: Guarantee;
  /**
   * Aborted when a running handler has to end: when 70 % of the time to give the partition back is over, and at once
   * when the stream to the sidecar broke. In any case it is aborted when the lambda has ended.
   */
  readonly signal: AbortSignal;
  /** Logs with the partition's name. */
  readonly log: ILogger;

  /**
   * Everything up to and including this message, or this offset, is done. Call it as often as you like: only the latest
   * is sent. Ignored: a lower offset than before, one at or above a message that failed, any after `error`.
   *
   * `state` is a few bytes that belong to this checkpoint: they are committed with it, and the next lambda that starts
   * from it finds them in {@link IContext.state}. Without it the state before holds; an empty one means that there is none
   * from here on. Throws `RangeError` when it is longer than the sidecar keeps: about 2 KiB, divided by the number of
   * lanes. kafka-service has a `restartFlag` in its place, which has no meaning here: a checkpoint that does not arrive is
   * sent again.
   */
  checkpoint(queuedMessage: Pick<IQueuedMessage, "offset"> | number, state?: Uint8Array | string | boolean): void;
  /**
   * Resolves when everything up to this offset is committed in Kafka, such as before another system is told that it is
   * done. That a checkpoint was called, or accepted, does not mean so. Rejected with {@link NotCommittedError} when the
   * lambda ends before, or the sidecar is too old to tell. Not in kafka-service.
   */
  committed(offset: number): Promise<void>;
  /**
   * A sign of life of long work, for a lambda with a `deadline` in the sidecar's config: it counts from here again. The
   * text, such as "43 %", is shown by `status`. Call it as often as you like: one a second is sent. Not in kafka-service.
   */
  progress(text?: string): void;
  /** The lambda cannot go on. Its handler is not called again; only the first error counts. */
  error(error: any, errorData: IContextErrorData): void;
  /** Operators see and count the error; nothing stops. Not in kafka-service. */
  report(error: any, offset?: number): void;
  /**
   * Take no messages for now, such as while a dependency is down. No handler call begins from here on; the lambda stays,
   * and checkpoints count. With `offset` the messages from it on are delivered again; it must be above the checkpoint.
   * The pause ends by `resume`, by an operator, or after `retryAfterMs` (not in kafka-service).
   */
  pause(offset?: number, reason?: any, retryAfterMs?: number): void;
  /** Ends a pause, as soon as the sidecar has heard it. */
  resume(): void;
  /**
   * Write a record to Kafka through the sidecar, in the order of the calls, to a topic that the lambda's `produce` in
   * the sidecar's config allows. Not in kafka-service.
   *
   * The promise is rejected with {@link ProduceError} when the record was not written, or is not known to be. A
   * checkpoint is sent only when the outcome of all that was produced before it is known. A failure that nobody awaits
   * fails the lambda (restart): after a second in which it holds back a checkpoint, after ten seconds otherwise. No
   * checkpoint that was called after that `produce` passes it. A failure never is an unhandled rejection by itself.
   *
   * With exactly-once the promise is resolved when the sidecar holds the record. It becomes visible together with the
   * first checkpoint that is called after this `produce`, or never; `source` names another one.
   *
   * Bytes are not copied: leave them as they are until the outcome is there.
   */
  produce(topic: string, value: Uint8Array | string | null, options?: ProduceOptions): Promise<Produced>;
  /**
   * `count` messages after the checkpoint are done too, with so many bytes of keys and values: they leave the window.
   * The numbers replace the earlier ones. Not in kafka-service.
   */
  completedBeyond(count: number, bytes: number): void;
  /**
   * The checkpoint has passed `count` messages, in total, that were not handled; `skipping` names what is skipped now.
   * For operators. Not in kafka-service.
   */
  skipped(count: number, skipping?: readonly string[], skippingCount?: number): void;
}

/** The code for the messages of one partition. */
export interface IPartitionLambda {
  /**
   * Takes one message. When it returns a promise, the next call begins after that; otherwise at once. That it returned
   * does not mean that the message is done: only `context.checkpoint` says so. What it throws is critical.
   */
  handler(message: Message): PromiseLike<unknown> | undefined | void;
  /** Called once, after the last handler has returned. */
  close?(closeType: LambdaCloseType): PromiseLike<unknown> | undefined | void;
  /** Called with `context.pause`: forget what is held of the messages from `offset` on. */
  pause?(offset: number): void;
  /** Called when the pause is over. */
  resume?(): void;
}

/** The lambda's settings: those of the sidecar's config, under those of the environment. */
export interface ISettings {
  /** Returns the setting at a path such as `mongo:url`; undefined: there is none. Without a path: all settings. */
  get(path?: string): any;
}

/** Makes the lambdas of one process. An `EventEmitter` may emit `error`, which ends the process. */
export interface IPartitionLambdaFactory {
  /**
   * Makes the lambda of one partition. If it throws, the partition is tried again after a back-off. The settings are
   * always there; the type allows for undefined since kafka-service's factories do.
   */
  create(settings: ISettings | undefined, context: IContext): PromiseLike<IPartitionLambda> | IPartitionLambda;
  /** Called once, when the process ends and all lambdas are closed. */
  dispose?(): PromiseLike<unknown> | undefined | void;
}

/** What `serve` takes, and what a kafka-service plugin module exports. */
export interface IPlugin {
  /** Loads what all partitions share, once in a process. */
  create(settings: ISettings): PromiseLike<IPartitionLambdaFactory> | IPartitionLambdaFactory;
}

/** A whole lambda in one function: {@link IPartitionLambda.handler} with the context of its partition. */
export type MessageHandler = (message: Message, context: IContext) => PromiseLike<unknown> | undefined | void;
