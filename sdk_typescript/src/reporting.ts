/** Tells the sidecar of a lambda's errors and reports, by calls beside the stream. */

import { create } from "@bufbuild/protobuf";
import type { Calls } from "./connection.js";
import { messageOf, stackOf, typeOf } from "./errors.js";
import type { ILogger } from "./interfaces.js";
import { nameOf } from "./limits.js";
import { ErrorAction, ErrorOutcome, ErrorRequestSchema, type ErrorRequest } from "./protocol/lambda_pb.js";
import { sleep } from "./timing.js";

const MAX_REPORTS = 100; // of one lease, under way at a time
const RETRY_PAUSES_MS = [0, 100, 300, 1000];

/** Why a lambda cannot go on, or what it reported. @internal */
export interface Failure {
  readonly kind: "failed";
  readonly error: unknown;
  readonly action: ErrorAction;
  readonly offset: number | undefined;
  readonly code: "lambda_error" | "handler_failed" | "create_failed" | "produce_failed";
}

/** @internal */
export class Reporting {
  #underWay = 0;

  constructor(
    private readonly lease: string,
    private readonly calls: Calls,
    /** Aborted when the stream is over: then nobody needs an error any more. */
    private readonly over: AbortSignal,
    private readonly log: ILogger,
  ) {}

  request(failure: Failure): ErrorRequest {
    const { error, action, offset, code } = failure;
    const request = create(ErrorRequestSchema, {
      lease: this.lease,
      action,
      code,
      message: messageOf(error),
      type: typeOf(error),
      stack: stackOf(error),
    });
    if (offset !== undefined) request.offset = BigInt(offset);
    return request;
  }

  /** Sends an error, several times if need be; returns whether the sidecar has it. */
  async send(request: ErrorRequest): Promise<boolean> {
    for (const pause of RETRY_PAUSES_MS) {
      if (pause > 0) await sleep(pause, this.over);
      if (this.over.aborted) return false;
      try {
        const { outcome } = await this.calls.error(request);
        this.log.info(`the sidecar's answer to the error: ${nameOf(ErrorOutcome, outcome)}`);
        return true;
      } catch (error) {
        this.log.warn(`the error could not be told: ${messageOf(error)}`);
      }
    }
    return false;
  }

  /** Sends a report, without waiting for it. */
  report(failure: Failure): void {
    const text = messageOf(failure.error);
    if (this.#underWay >= MAX_REPORTS) {
      this.log.warn(`too many reports under way, not sent: ${text}`);
      return;
    }
    this.log.warn(`reported: ${text}`);
    this.#underWay += 1;
    this.calls
      .error(this.request(failure))
      .catch((error: unknown) => {
        this.log.warn(`the report did not arrive: ${messageOf(error)}`);
      })
      .finally(() => {
        this.#underWay -= 1;
      });
  }
}
