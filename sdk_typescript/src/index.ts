/**
 * A lambda of kafka-sidecar: a function over the messages of one Kafka partition.
 *
 * @packageDocumentation
 */

export type { Address, TlsFiles } from "./endpoint.js";
export { NotCommittedError, ProduceError, RefusedError, SettingsError, type ProduceFailure } from "./errors.js";
export * from "./interfaces.js";
export { stderrLogger } from "./log.js";
export { serve, type ServeOptions } from "./serve.js";
