/** What a lease needs of its process. */

import type * as Api from "@opentelemetry/api";
import type { Calls } from "./connection.js";
import type { ILogger, IPartitionLambdaFactory, ISettings } from "./interfaces.js";
import type { Limits } from "./limits.js";
import type { Sink } from "./progress.js";
import type { Turns } from "./timing.js";

/** What a life needs of its process beside the stream. @internal */
export interface Host {
  readonly lambdaName: string;
  readonly factory: IPartitionLambdaFactory;
  readonly settings: ISettings;
  readonly sink: Sink;
  readonly calls: Calls;
  readonly turns: Turns;
  /** How many messages may be outstanding. */
  readonly window: number;
  /** How many bytes of them. */
  readonly windowBytes: number;
  readonly limits: Limits;
  /** How long a state may be, in bytes; 0: the sidecar keeps none. */
  readonly maxStateBytes: number;
  readonly exactlyOnce: boolean;
  /** Whether the sidecar tells what is committed. */
  readonly tellsCommitted: boolean;
  readonly drainMs: number;
  readonly log: ILogger;
  /** OpenTelemetry's API; undefined: it is not installed. */
  readonly api: typeof Api | undefined;
}
