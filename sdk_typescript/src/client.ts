/**
 * One process's client for one lambda: keeps one spare stream open, and runs a `Life` for each that gets a partition.
 *
 *     offer ──► Welcome ──► plugin.create (once) ──► Available ──► Assigned ──► a Life, and the next offer
 *       ▲                                                │
 *       └──── back-off ◄──── the stream broke ───────────┘
 *
 * One loop (`#keepOffering`) opens streams, so there is never more than one spare.
 */

import type * as Api from "@opentelemetry/api";
import { CheckpointSender } from "./checkpoints.js";
import { Connection, type Link } from "./connection.js";
import { placeOf } from "./context.js";
import { whyNot, type Endpoint } from "./endpoint.js";
import { FrameError, LinkError, messageOf, RefusedError, SettingsError } from "./errors.js";
import type { ILogger, IPartitionLambdaFactory, IPlugin, ISettings } from "./interfaces.js";
import { Life } from "./life.js";
import { limitsOf } from "./limits.js";
import { prefixed } from "./log.js";
import { Guarantee } from "./protocol/lambda_pb.js";
import type * as pb from "./protocol/lambda_pb.js";
import { layered } from "./settings.js";
import { offerOf, SpareStream, StoppedError } from "./spare.js";
import { sleep, Turns, within } from "./timing.js";
import { loadApi } from "./tracing.js";

const PARTITION_SHARE = 0.8; // of the drain time, for the partitions; the rest is for dispose
const MIN_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 2000;
const MIN_REFUSED_MS = 5000;
const MAX_REFUSED_MS = 30_000;
const STABLE_MS = 1000; // a stream that lived so long has worked: the retry after it is immediate again
const LOG_AGAIN_MS = 60_000;
const LOG_CHANGES_MS = 5000;

/** What a client needs beside the plugin and the endpoint. @internal */
export interface ClientOptions {
  readonly environment: NodeJS.ProcessEnv;
  readonly lambdaVersion: string;
  readonly drainMs: number;
  readonly log: ILogger;
}

/** Serves one lambda until it is stopped. @internal */
export class Client {
  readonly #connection: Connection;
  readonly #sender: CheckpointSender;
  readonly #log: ILogger;
  readonly #offer: pb.LambdaFrame;
  readonly #stopping = new AbortController();
  readonly #stopped = aborted(this.#stopping.signal);
  readonly #lives = new Map<Life, Promise<void>>();
  readonly #latest = new Map<string, Promise<void>>(); // by partition, or lane of it
  readonly #turns = new Turns();
  readonly #left: string[] = [];
  #loading: Promise<void> | undefined;
  #factory: IPartitionLambdaFactory | undefined;
  #api: typeof Api | undefined;
  #settings: ISettings | undefined;
  #settingsJson = "";
  #failure: { readonly error: unknown } | undefined; // an `error` event of the factory
  #welcomed = false;
  #said = "";
  #saidAt = -Infinity;

  constructor(
    private readonly name: string,
    private readonly plugin: IPlugin,
    private readonly endpoint: Endpoint,
    private readonly options: ClientOptions,
  ) {
    this.#log = prefixed(options.log, `${name}:`);
    this.#connection = new Connection(endpoint);
    this.#sender = new CheckpointSender((request) => this.#connection.checkpoint(request), this.#log);
    this.#offer = offerOf(name, options.lambdaVersion);
  }

  /** What has not ended, in words. */
  get unfinished(): string[] {
    return [...this.#left, ...[...this.#lives.keys()].map((life) => life.unfinished)];
  }

  /** Drains and ends: `run` returns when it is done. */
  stop(): void {
    this.#stopping.abort();
  }

  /**
   * Serves until `stop`. Rejects with `RefusedError` when the sidecar refuses the very first Offer, with
   * `SettingsError` when TLS with it cannot work, and with whatever `plugin.create` threw.
   */
  async run(): Promise<void> {
    try {
      await this.#keepOffering();
    } finally {
      this.stop();
      await this.#drain();
      this.#sender.end();
      this.#connection.close();
    }
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  async #drain(): Promise<void> {
    if (this.#lives.size > 0) this.#log.info(`drains ${String(this.#lives.size)} partitions`);
    for (const life of this.#lives.keys()) life.stop();
    const all = Promise.allSettled(this.#lives.values());
    await within(all, this.options.drainMs * 0.95);
    if (this.#loading !== undefined) await within(this.#loading, this.options.drainMs * 0.95);
    try {
      const disposed = Promise.resolve(this.#factory?.dispose?.());
      if (!(await within(disposed, this.options.drainMs * 0.05 + 200))) this.#left.push("dispose");
      else await disposed;
    } catch (error) {
      this.#log.error(`dispose failed: ${messageOf(error)}`, error);
    }
  }

  // ------------------------------------------------------------------------------------------------ offering

  async #keepOffering(): Promise<void> {
    const { signal } = this.#stopping;
    let failures = 0;
    while (!signal.aborted) {
      const began = performance.now();
      try {
        this.#begin(...(await this.#offerOnce()));
        failures = 0;
        continue;
      } catch (error) {
        if (error instanceof StoppedError) return;
        const isLink = error instanceof LinkError || error instanceof FrameError;
        if (!isLink && !(error instanceof RefusedError)) throw error;
        if (performance.now() - began > STABLE_MS) failures = 0;
        const delay = this.#delay(error, failures);
        failures = Math.min(failures + 1, 16);
        await sleep(delay * (0.5 + Math.random() / 2), signal);
      }
      // Lambdas whose streams broke too have to be closed before this process offers again.
      await Promise.race([this.#oldLivesClosed(), this.#stopped]);
    }
  }

  /** Says why there is no stream; returns how long to wait. Throws what asking again does not cure. */
  #delay(error: Error, failures: number): number {
    if (error instanceof RefusedError) {
      if (!this.#welcomed) throw error;
      this.#say(`${error.message}; asks again in case the config changes`, "warn");
      return Math.min(MAX_REFUSED_MS, MIN_REFUSED_MS * 2 ** failures);
    }
    const { why, never } = whyNot(this.endpoint, error);
    if (never && !this.#welcomed) throw new SettingsError(why);
    this.#say(`waits for the sidecar at ${this.endpoint.address}: ${why}`, "warn");
    // The first retry is immediate: usually the sidecar was restarted, or an idle connection was cut.
    return failures === 0 ? 0 : Math.min(MAX_BACKOFF_MS, MIN_BACKOFF_MS * 2 ** (failures - 1));
  }

  async #oldLivesClosed(): Promise<void> {
    const ending = [...this.#lives].filter(([life]) => life.ending !== undefined);
    await Promise.all(ending.map(([, running]) => running));
  }

  /** Keeps one spare stream until it gets a partition. */
  async #offerOnce(): Promise<[link: Link, welcome: pb.Welcome, assigned: pb.Assigned]> {
    const spare = new SpareStream(this.#connection.open(), this.#stopping.signal);
    try {
      spare.link.write(this.#offer);
      const isLoaded = this.#factory !== undefined;
      if (isLoaded) spare.available(); // saves a round trip: the sidecar reads it when it has written its Welcome
      const welcome = await spare.welcome();
      this.#welcomed = true;
      this.#say(`connected to sidecar ${welcome.sidecarVersion} at ${this.endpoint.address}`, "info");
      this.#sender.limits = limitsOf(welcome.limits);
      await Promise.race([this.#load(welcome), spare.assigned]); // what ends the stream ends the wait, not the load
      if (!isLoaded) spare.available();
      const assigned = await spare.assigned;
      return [spare.take(), welcome, assigned];
    } finally {
      spare.release();
    }
  }

  /** Makes the factory, once in a process, with the settings of the first Welcome. */
  async #load(welcome: pb.Welcome): Promise<void> {
    if (this.#loading !== undefined && welcome.settingsJson !== this.#settingsJson) {
      this.#settingsJson = welcome.settingsJson;
      this.#log.warn("the sidecar has other settings now: restart this process to use them");
    }
    if (this.#loading === undefined) {
      this.#loading = this.#create(welcome.settingsJson);
      this.#loading.catch(() => undefined); // if the stream breaks meanwhile, the next Welcome finds the failure
    }
    await this.#loading;
  }

  async #create(settingsJson: string): Promise<void> {
    this.#settingsJson = settingsJson;
    this.#settings = layered(settingsJson, this.options.environment);
    this.#api = await loadApi();
    const factory = await this.plugin.create(this.#settings);
    if (typeof (factory as { create?: unknown } | undefined)?.create !== "function") {
      throw new TypeError("plugin.create returned no factory: an object with a method create(settings, context)");
    }
    // kafka-service's factories are emitters, and Node ends a process in which nobody listens to `error`.
    (factory as { on?: (event: string, listener: (error: unknown) => void) => void }).on?.("error", (error) => {
      this.#log.error(`the factory failed, this process ends: ${messageOf(error)}`, error);
      this.#failure ??= { error };
      this.stop();
    });
    this.#factory = factory;
  }

  #begin(link: Link, welcome: pb.Welcome, assigned: pb.Assigned): void {
    const { lease, topic, partition, lane, startOffset, attempt } = assigned;
    const lanes = Math.max(1, assigned.lanes);
    const state = Buffer.from(assigned.state);
    if (this.#factory === undefined || this.#settings === undefined) throw new FrameError("assigned before Available");
    const start = startOffset === undefined ? undefined : Number(startOffset);
    let factory = this.#factory;
    if (start !== undefined && !Number.isSafeInteger(start)) {
      factory = refusing(`Assigned.start_offset is ${String(startOffset)}`);
    }
    const named = { lease, topic, partition, lane, lanes, attempt, startOffset: start, state };
    const life = new Life(named, link, {
      lambdaName: this.name,
      factory,
      settings: this.#settings,
      sink: this.#sender,
      calls: this.#connection,
      turns: this.#turns,
      window: welcome.windowMessages || 1000,
      windowBytes: Number(welcome.windowBytes) || 16 * 1024 * 1024, // an estimate is made of it: it need not be exact
      limits: this.#sender.limits,
      maxStateBytes: welcome.maxStateBytes,
      exactlyOnce: welcome.guarantee === Guarantee.EXACTLY_ONCE,
      tellsCommitted: welcome.capabilities.includes("committed"),
      drainMs: this.options.drainMs * PARTITION_SHARE,
      log: this.options.log,
      api: this.#api,
    });
    this.#sender.add(life.progress);
    const key = placeOf(named);
    const running = life
      .run(this.#latest.get(key))
      .catch((error: unknown) => {
        life.log.error(`a fault of the SDK, not of the lambda: ${messageOf(error)}`, error);
        link.cancel();
      })
      .then(() => {
        if (life.left !== undefined) this.#left.push(life.left);
        this.#lives.delete(life);
        if (this.#latest.get(key) === running) this.#latest.delete(key);
      });
    this.#lives.set(life, running);
    this.#latest.set(key, running);
  }

  /** Logs a state when it changes; a warning at most every five seconds, and the same one every minute. */
  #say(text: string, level: "info" | "warn"): void {
    const now = performance.now();
    const since = now - this.#saidAt;
    if (text === this.#said ? level === "info" || since < LOG_AGAIN_MS : level === "warn" && since < LOG_CHANGES_MS) {
      return;
    }
    this.#said = text;
    this.#saidAt = level === "info" ? -Infinity : now;
    this.#log[level](text);
  }
}

/** A factory for a partition that this SDK cannot take: the sidecar is told as of any creation that fails. */
function refusing(what: string): IPartitionLambdaFactory {
  const most = String(Number.MAX_SAFE_INTEGER);
  return { create: () => Promise.reject(new FrameError(`${what}: this SDK takes numbers up to ${most}`)) };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else {
      signal.addEventListener("abort", () => {
        resolve();
      });
    }
  });
}
