/** Sends the progress of all leases: one call under way with all that moved, and no more calls than needed. */

import { create, toBinary } from "@bufbuild/protobuf";
import { LinkError, messageOf } from "./errors.js";
import type { ILogger } from "./interfaces.js";
import { limitsOf } from "./limits.js";
import type { LeaseProgress, Sink } from "./progress.js";
import {
  CheckpointEntrySchema,
  CheckpointRequestSchema,
  type CheckpointEntry,
  type CheckpointRequest,
  type CheckpointResponse,
} from "./protocol/lambda_pb.js";

/**
 * Between the starts of two calls, unless a lease is in a hurry. A call takes some 2 ms of CPU time, sidecar and lambda
 * together: with 10 ms between them, a lambda that gets 200 records a second costs half as much again.
 */
const SPACING_MS = 50;
const HANDLED_INTERVAL_MS = 1000;
const MAX_ENTRY_BYTES = 4096; // more than an entry ever takes
const MIN_RETRY_MS = 50;
const MAX_RETRY_MS = 1000;

/** @internal */
export class CheckpointSender implements Sink {
  /** What the present sidecar takes. */
  limits = limitsOf(undefined);
  readonly commitSpacingMs = 100;
  readonly #leases = new Set<LeaseProgress>();
  readonly #moved = new Set<LeaseProgress>();
  readonly #tick: NodeJS.Timeout;
  #timer: NodeJS.Timeout | undefined;
  #underWay = false;
  #hurried = false;
  #ended = false;
  #last = -Infinity;
  #retry = 0;

  constructor(
    private readonly call: (request: CheckpointRequest) => Promise<CheckpointResponse>,
    private readonly log: ILogger,
  ) {
    this.#tick = setInterval(() => {
      for (const progress of this.#leases) progress.lookAtHandled();
    }, HANDLED_INTERVAL_MS);
  }

  add(progress: LeaseProgress): void {
    this.#leases.add(progress);
  }

  changed(progress: LeaseProgress): void {
    this.#moved.add(progress);
    if (progress.urgent) this.#hurried = true;
    this.#plan();
  }

  hurry(): void {
    if (this.#hurried) return;
    this.#hurried = true;
    this.#plan();
  }

  forget(progress: LeaseProgress): void {
    this.#leases.delete(progress);
    this.#moved.delete(progress);
  }

  /** Ends with the process: no call follows. */
  end(): void {
    this.#ended = true;
    clearInterval(this.#tick);
    clearTimeout(this.#timer);
  }

  /** Plans the next call, or brings it forward. The end of a call that is under way plans again. */
  #plan(): void {
    if (this.#underWay || this.#ended || this.#moved.size === 0) return;
    if (this.#timer !== undefined && (!this.#hurried || this.#retry > 0)) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const spacing = this.#hurried ? 0 : this.#last + SPACING_MS - performance.now();
    const wait = this.#retry > 0 ? this.#retry * (0.5 + Math.random() / 2) : Math.max(0, spacing);
    const send = (): void => {
      this.#timer = undefined;
      void this.#send();
    };
    if (wait > 0) {
      this.#timer = setTimeout(send, wait);
    } else {
      this.#underWay = true; // from here on, although it begins when the messages of this round are handled
      setImmediate(send);
    }
  }

  async #send(): Promise<void> {
    const sent = this.#collect();
    this.#underWay = sent.size > 0;
    if (sent.size === 0) return;
    this.#last = performance.now();
    try {
      const response = await this.call(create(CheckpointRequestSchema, { entries: [...sent.values()] }));
      this.#answered(sent, response);
    } catch (error) {
      if (this.#retry === 0 && !this.#ended) {
        this.log.warn(`checkpoints do not come through, they are kept and sent again: ${messageOf(error)}`);
      }
      this.#retry = Math.min(MAX_RETRY_MS, this.#retry * 2) || MIN_RETRY_MS;
      for (const progress of sent.keys()) progress.failed();
    } finally {
      this.#underWay = false;
      this.#plan();
    }
  }

  #answered(sent: Map<LeaseProgress, CheckpointEntry>, response: CheckpointResponse): void {
    const { results } = response;
    if (results.length !== sent.size) {
      throw new LinkError(`${String(results.length)} results for ${String(sent.size)} checkpoints`);
    }
    if (this.#retry > 0) this.log.info("checkpoints come through again");
    this.#retry = 0;
    let index = 0;
    for (const [progress, entry] of sent) {
      const result = results[index++];
      if (result !== undefined) progress.answered(entry, result);
    }
  }

  #collect(): Map<LeaseProgress, CheckpointEntry> {
    const sent = new Map<LeaseProgress, CheckpointEntry>();
    let size = 0;
    for (const progress of this.#moved) {
      if (sent.size >= this.limits.checkpointEntries || size > this.limits.requestBytes - 2 * MAX_ENTRY_BYTES) break;
      this.#moved.delete(progress);
      const entry = progress.take();
      if (entry === undefined) continue;
      sent.set(progress, entry);
      size += entrySize(entry);
    }
    this.#hurried = false;
    return sent;
  }
}

function entrySize(entry: CheckpointEntry): number {
  return entry.skipping.length === 0 ? 128 + entry.lease.length : toBinary(CheckpointEntrySchema, entry).length + 8;
}
