import { setImmediate } from "node:timers/promises";
import type { ILogger } from "../src/interfaces.js";
import type { Sink } from "../src/progress.js";

/** A log that nobody reads. */
export const silent: ILogger = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** Of a lease whose progress nobody sends. */
export const noSink: Sink = {
  commitSpacingMs: 0,
  changed: () => undefined,
  hurry: () => undefined,
  forget: () => undefined,
};

/** Waits, round by round of the event loop, until a condition holds. */
export async function until(condition: () => boolean, ms = 5000): Promise<void> {
  const end = performance.now() + ms;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`did not happen within ${String(ms)} ms: ${condition.toString()}`);
    await setImmediate();
  }
}
