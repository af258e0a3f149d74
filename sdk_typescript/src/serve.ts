/** Serves a lambda: the one function that a program calls. */

import { Client } from "./client.js";
import { endpointOf, type Address } from "./endpoint.js";
import { messageOf, printable, RefusedError, SettingsError } from "./errors.js";
import type { ILogger, IPlugin, MessageHandler } from "./interfaces.js";
import { stderrLogger } from "./log.js";

const DRAIN_MS = 10_000;

/** What {@link serve} takes beside the lambda. What is left out comes from the environment. */
export interface ServeOptions extends Address {
  /**
   * Serve until it is aborted, and reject when that is not possible. Without it the process belongs to `serve`: SIGTERM
   * and SIGINT drain it, and an error that ends it is written to stderr and makes its exit code.
   */
  signal?: AbortSignal;
  /** For handlers, `close` and `dispose` at the end. Default: 10,000. */
  drainMs?: number;
  /** The version of the lambda's code that operators see. Default: `KAFKA_SIDECAR_LAMBDA_VERSION`. */
  version?: string;
  /** Default: one line for each entry on stderr. */
  log?: ILogger;
}

/**
 * Serves the lambda `name` of the sidecar's config, until SIGTERM or SIGINT; then everything is drained, and the promise
 * is resolved. The exit code is 0 then, also where a handler that ignores `context.signal` had to be left behind: each
 * partition is given back. It is 2 when the sidecar refuses this process or a setting cannot be used, and 1 when the
 * plugin cannot be loaded.
 *
 * `lambda` is a function that takes each message, or a plugin with the interfaces of kafka-service.
 */
export async function serve(name: string, lambda: MessageHandler | IPlugin, options: ServeOptions = {}): Promise<void> {
  if (options.signal !== undefined) {
    await clientOf(name, lambda, options, options.signal).run();
    return;
  }
  const log = options.log ?? stderrLogger;
  const stopping = new AbortController();
  const signals = ["SIGTERM", "SIGINT"] as const;
  const onSignal = (signal: NodeJS.Signals): void => {
    for (const one of signals) process.removeListener(one, onSignal); // a second signal ends the process at once
    log.info(`${name}: drains after ${signal}; a second signal ends at once`);
    stopping.abort();
  };
  for (const one of signals) process.on(one, onSignal);
  try {
    const client = clientOf(name, lambda, options, stopping.signal);
    const bound = endWithin(name, client, options.drainMs ?? DRAIN_MS, stopping.signal, log);
    await client.run();
    bound();
  } catch (error) {
    const isExpected = error instanceof RefusedError || error instanceof SettingsError;
    if (isExpected) process.stderr.write(`error: ${printable(messageOf(error))}\n`);
    else log.error(`${name}: ends with an error: ${messageOf(error)}`, error);
    process.exitCode = isExpected ? 2 : 1;
    stopping.abort(); // what the plugin has opened must not keep the process
  } finally {
    for (const one of signals) process.removeListener(one, onSignal);
  }
}

/** Makes a plugin of a function; a plugin stays as it is. Throws `TypeError` for anything else. @internal */
export function asPlugin(lambda: MessageHandler | IPlugin): IPlugin {
  if (typeof lambda !== "function") {
    if (typeof (lambda as { create?: unknown } | undefined)?.create === "function") return lambda;
    throw new TypeError("serve(name, lambda): a function (message, context), or an object with a method create");
  }
  return {
    create: () => ({ create: (_, context) => ({ handler: (message) => lambda(message, context) }) }),
  };
}

function clientOf(name: string, lambda: MessageHandler | IPlugin, options: ServeOptions, signal: AbortSignal): Client {
  const environment = process.env;
  const client = new Client(name, asPlugin(lambda), endpointOf(options, environment), {
    environment,
    lambdaVersion: options.version ?? environment["KAFKA_SIDECAR_LAMBDA_VERSION"] ?? "",
    drainMs: options.drainMs ?? DRAIN_MS,
    log: options.log ?? stderrLogger,
  });
  const stop = (): void => {
    client.stop();
  };
  if (signal.aborted) stop();
  else signal.addEventListener("abort", stop, { once: true });
  return client;
}

/**
 * Ends the process some time after its end has begun, whatever still keeps it: a handler, a connection of the lambda's
 * own. Returns a function that notes that everything has ended in order. The timer itself keeps no process alive.
 */
function endWithin(name: string, client: Client, ms: number, stopping: AbortSignal, log: ILogger): () => void {
  let isDone = false;
  stopping.addEventListener("abort", () => {
    setTimeout(() => {
      const left = client.unfinished.join("; ") || "a handle of its own";
      log.error(`${name}: ends after ${String(ms)} ms (drainMs) and leaves behind: ${left}`);
      process.exit(process.exitCode ?? (isDone ? 0 : 1));
    }, ms + 500).unref();
  });
  return () => {
    isDone = true;
  };
}
