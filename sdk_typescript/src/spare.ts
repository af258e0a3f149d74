/** A spare stream: from Offer to Assigned. */

import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { MAX_MESSAGE_BYTES, type Link } from "./connection.js";
import { clip, FrameError, LinkError } from "./errors.js";
import * as pb from "./protocol/lambda_pb.js";
import { Later, within } from "./timing.js";
import { VERSION } from "./version.js";

const WELCOME_TIMEOUT_MS = 30_000;

/** The process stops: no stream is wanted any more. @internal */
export class StoppedError extends Error {}

/** @internal */
export class SpareStream {
  readonly #welcomes = new Later<pb.Welcome>();
  readonly #assigns = new Later<pb.Assigned>();
  #isAvailable = false;
  #isTaken = false;

  constructor(
    readonly link: Link,
    private readonly stopping: AbortSignal,
  ) {
    // Nobody may wait for them at the moment when they are rejected.
    this.#welcomes.promise.catch(() => undefined);
    this.#assigns.promise.catch(() => undefined);
    link.onFrame = ({ frame }) => {
      if (frame.case === "welcome") this.#welcomes.resolve(frame.value);
      else if (frame.case === "assigned" && this.#isAvailable) this.#assigns.resolve(frame.value);
      else if (frame.case !== undefined) throw new FrameError(`${frame.case} came before its time`);
    };
    link.onEnd = (error) => {
      this.#fail(error ?? new LinkError("the sidecar ended the stream"));
    };
    if (stopping.aborted) this.#stop();
    else stopping.addEventListener("abort", this.#stop);
  }

  /** Rejects, as `assigned` does, when the stream ends before, and with `StoppedError` when the process stops. */
  async welcome(): Promise<pb.Welcome> {
    if (!(await within(this.#welcomes.promise, WELCOME_TIMEOUT_MS))) {
      throw new LinkError(`no Welcome within ${String(WELCOME_TIMEOUT_MS / 1000)} s`);
    }
    return this.#welcomes.promise;
  }

  get assigned(): Promise<pb.Assigned> {
    return this.#assigns.promise;
  }

  /** Says that the resources of the process are loaded. */
  available(): void {
    this.#isAvailable = true;
    this.link.write(create(pb.LambdaFrameSchema, { frame: { case: "available", value: {} } }));
  }

  /** Hands the stream over to the life of its partition. */
  take(): Link {
    this.#isTaken = true;
    return this.link;
  }

  /** Ends the stream, unless it was taken. */
  release(): void {
    this.stopping.removeEventListener("abort", this.#stop);
    if (!this.#isTaken) this.link.cancel();
  }

  readonly #stop = (): void => {
    this.#fail(new StoppedError());
  };

  #fail(error: Error): void {
    this.#welcomes.reject(error);
    this.#assigns.reject(error);
  }
}

/** The first frame of each stream of this process. @internal */
export function offerOf(name: string, lambdaVersion: string): pb.LambdaFrame {
  const value: MessageInitShape<typeof pb.OfferSchema> = {
    lambdaName: name,
    processId: randomUUID(),
    instance: clip(`${hostname()}:${String(process.pid)}`, 256),
    protocolVersion: 1,
    client: { name: "kafka-sidecar-sdk", version: VERSION, language: `node ${process.versions.node}` },
    maxMessageBytes: MAX_MESSAGE_BYTES,
    capabilities: ["committed", "exactly-once"],
    pid: process.pid,
    lambdaVersion: clip(lambdaVersion, 256),
  };
  return create(pb.LambdaFrameSchema, { frame: { case: "offer", value } });
}
