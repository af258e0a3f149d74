/** What the SDK throws, and how an error becomes text: for the wire, and for a log. */

import { inspect } from "node:util";

/** A setting, an option or a file cannot be used. */
export class SettingsError extends Error {
  override name = "SettingsError";
}

/** The sidecar refused this process: unknown lambda, protocol too old, bad token. */
export class RefusedError extends Error {
  override name = "RefusedError";
  constructor(
    /** The name of the gRPC status, such as `NOT_FOUND`. */
    readonly code: string,
    /** The text of the sidecar, which says what to do. */
    readonly details: string,
  ) {
    super(`the sidecar refused this process (${code}): ${details}`);
  }
}

/** Why a record was not written: see {@link ProduceError.kind}. */
export type ProduceFailure = "failed" | "too_large" | "not_allowed" | "stale_lease" | "too_much_held";

/** A record was not written, or is not known to be. */
export class ProduceError extends Error {
  override name = "ProduceError";
  constructor(
    /** Why, in words. */
    readonly reason: string,
    readonly topic: string,
    /**
     * `too_large`: its size is refused, and will be again. `not_allowed`: the lambda's `produce` does not list the
     * topic. `stale_lease`: the lambda does not have the partition any more. `too_much_held`: with exactly-once, more
     * waits for a checkpoint than the sidecar holds. `failed`: anything else; the record may have been written all the
     * same.
     */
    readonly kind: ProduceFailure,
  ) {
    super(`not written to ${topic} (${kind}): ${reason}`);
  }
}

/** An offset is not known to be committed, and this lambda will not hear of it: see {@link IContext.committed}. */
export class NotCommittedError extends Error {
  override name = "NotCommittedError";
  constructor(
    readonly offset: number,
    /** Why, in words. */
    readonly reason: string,
  ) {
    super(`offset ${String(offset)} is not known to be committed: ${reason}`);
  }
}

/** A stream or a call broke. @internal */
export class LinkError extends Error {
  override name = "LinkError";
  constructor(
    message: string,
    /** What gRPC says, without the status. */
    readonly details = "",
    /** The name of the gRPC status; empty where it is not gRPC that says so. */
    readonly code = "",
  ) {
    super(message);
  }
}

/** gRPC refuses a message for its size, and will refuse it again. @internal */
export class TooLargeError extends LinkError {
  override name = "TooLargeError";
}

/** A frame of the sidecar breaks the contract; the text names the field. @internal */
export class FrameError extends Error {
  override name = "FrameError";
}

const MAX_MESSAGE_BYTES = 8 * 1024;
const MAX_TYPE_BYTES = 256;
const MAX_STACK_BYTES = 32 * 1024;

/** Cuts a text to at most so many bytes of UTF-8. @internal */
export function clip(text: string, limit: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= limit) return text.toWellFormed();
  let end = limit;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1; // not in the middle of a character
  return bytes.toString("utf8", 0, end);
}

/** An error's text for people. Never throws, whatever was thrown. @internal */
export function messageOf(error: unknown): string {
  try {
    const text = error instanceof Error ? error.message || error.name : inspect(error);
    return clip(typeof error === "string" ? error : text, MAX_MESSAGE_BYTES);
  } catch {
    return "an error without a readable text";
  }
}

/** The name of an error's class; empty when it is none. @internal */
export function typeOf(error: unknown): string {
  return error instanceof Error ? clip(error.name, MAX_TYPE_BYTES) : "";
}

/** An error's stack with its causes; empty when it has none. @internal */
export function stackOf(error: unknown): string {
  try {
    return error instanceof Error ? clip(inspect(error), MAX_STACK_BYTES) : "";
  } catch {
    return "";
  }
}

// C0 and C1 controls, line separators, and the marks that turn the direction of a text.
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** Escapes control characters: a text from elsewhere must not write to a terminal. @internal */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
