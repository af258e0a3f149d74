/** The history that each process writes: one JSON line for each event, on disk before the event has any effect. */

import { fsyncSync, openSync, writeSync } from "node:fs";

export class Journal {
  readonly #file: number;

  constructor(path: string) {
    this.#file = openSync(path, "a", 0o600);
  }

  /**
   * Writes one event, in one system call: its line is complete or missing. It has both clocks: the monotonic one, which
   * all processes of a machine share, and the wall clock, Kafka's.
   */
  write(kind: string, fields: Record<string, unknown>): void {
    const at = Number(process.hrtime.bigint()) / 1e9;
    const wall = Date.now() / 1000;
    writeSync(this.#file, `${JSON.stringify({ at, wall, kind, ...fields })}\n`);
    fsyncSync(this.#file);
  }
}
