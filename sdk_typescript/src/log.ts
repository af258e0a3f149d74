/** The logs of the SDK: one line each on stderr, unless the program gives another logger. */

import { messageOf, printable, stackOf } from "./errors.js";
import type { ILogger } from "./interfaces.js";

/** Writes `time level text` to stderr, and an error's stack on lines of their own, which are indented. */
export const stderrLogger: ILogger = {
  info: (message, metaData) => {
    write("INFO", message, metaData);
  },
  warn: (message, metaData) => {
    write("WARNING", message, metaData);
  },
  error: (message, metaData) => {
    write("ERROR", message, metaData);
  },
};

function write(level: string, message: string, metaData: unknown): void {
  const time = new Date().toISOString();
  process.stderr.write(`${time} ${level.padEnd(7)} ${printable(message)}\n${detailsOf(metaData)}`);
}

function detailsOf(metaData: unknown): string {
  if (metaData === undefined) return "";
  const text = stackOf(metaData) || messageOf(metaData);
  return text
    .split("\n")
    .map((line) => `    | ${printable(line)}\n`)
    .join("");
}

/** Puts a prefix before each line; a log that throws stops nothing. @internal */
export function prefixed(logger: ILogger, prefix: string): ILogger {
  const at =
    (level: keyof ILogger) =>
    (message: string, metaData?: unknown): void => {
      try {
        logger[level](`${prefix} ${message}`, metaData);
      } catch {
        // Nobody could be told: this is the log.
      }
    };
  return { info: at("info"), warn: at("warn"), error: at("error") };
}
