/** Where the sidecar is, how to talk to it, and what a failed connection means. */

import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { credentials, type ChannelCredentials } from "@grpc/grpc-js";
import { LinkError, messageOf, SettingsError } from "./errors.js";

const DEFAULT_ADDRESS = "127.0.0.1:50051";

/** Paths of PEM files. Encrypts the connection; with none of them, the system's authorities are trusted. */
export interface TlsFiles {
  /** The authorities that may have signed the sidecar's certificate. */
  ca?: string | undefined;
  /** This process's own certificate, and its key. */
  cert?: string | undefined;
  key?: string | undefined;
  /** The name in the sidecar's certificate, if it differs from the address. */
  serverName?: string | undefined;
}

/** Where to dial. What is left out comes from the environment. */
export interface Address {
  /** `host:port` or `unix:///path`. Default: `KAFKA_SIDECAR_ADDRESS`, else 127.0.0.1:50051. */
  address?: string | undefined;
  /** The sidecar's `server.token`. Default: `KAFKA_SIDECAR_TOKEN`. */
  token?: string | undefined;
  /** Default: `KAFKA_SIDECAR_CA`, `KAFKA_SIDECAR_CERT`, `KAFKA_SIDECAR_KEY`; not encrypted where none is set. */
  tls?: TlsFiles | undefined;
}

/** @internal */
export interface Endpoint {
  readonly address: string;
  /** The address as gRPC dials it. */
  readonly target: string;
  readonly token: string | undefined;
  readonly credentials: ChannelCredentials;
  readonly serverName: string | undefined;
  readonly isEncrypted: boolean;
}

/** Reads and checks what the options and the environment say. Throws `SettingsError`. @internal */
export function endpointOf(options: Address, environment: NodeJS.ProcessEnv): Endpoint {
  const address = options.address || environment["KAFKA_SIDECAR_ADDRESS"] || DEFAULT_ADDRESS;
  if (!address.startsWith("unix:") && !/:\d+$/.test(address)) {
    throw new SettingsError(`address ${JSON.stringify(address)}: expected host:port or unix:///path`);
  }
  const files: TlsFiles = options.tls ?? {
    ca: environment["KAFKA_SIDECAR_CA"],
    cert: environment["KAFKA_SIDECAR_CERT"],
    key: environment["KAFKA_SIDECAR_KEY"],
  };
  const isEncrypted = options.tls !== undefined || Boolean(files.ca || files.cert || files.key);
  return {
    address,
    target: dialled(address),
    token: options.token || environment["KAFKA_SIDECAR_TOKEN"] || undefined,
    credentials: isEncrypted ? encrypting(files) : credentials.createInsecure(),
    serverName: files.serverName,
    isEncrypted,
  };
}

/** A sidecar that listens on all interfaces is dialled on loopback. */
function dialled(address: string): string {
  return address.replace(/^(0\.0\.0\.0)?:(?=\d+$)/, "127.0.0.1:").replace(/^\[::\]:/, "[::1]:");
}

function encrypting(files: TlsFiles): ChannelCredentials {
  if (Boolean(files.cert) !== Boolean(files.key)) {
    throw new SettingsError("a client certificate and its key go together: give both files");
  }
  const [ca, key, cert] = [files.ca, files.key, files.cert].map((path) => (path ? contents(path) : null));
  try {
    // A mistake in a file is told with the file's name, and not as a failed handshake.
    if (ca) new X509Certificate(ca); // Node itself ignores a file without a certificate
    createSecureContext({ ca: ca ?? undefined, key: key ?? undefined, cert: cert ?? undefined });
  } catch (error) {
    const names = [files.ca, files.cert, files.key].filter(Boolean).join(", ");
    throw new SettingsError(`${names}: not usable for TLS, must be PEM and belong together: ${messageOf(error)}`);
  }
  return credentials.createSsl(ca ?? null, key ?? null, cert ?? null);
}

function contents(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new SettingsError(`${path} cannot be read: ${messageOf(error)}`);
  }
}

/** Returns why the sidecar cannot be reached and what helps, and whether only other settings help. @internal */
export function whyNot(endpoint: Endpoint, error: unknown): { why: string; never: boolean } {
  const details = error instanceof LinkError ? error.details : "";
  const { address } = endpoint;
  if (/wrong version number|WRONG_VERSION_NUMBER|packet length too long/.test(details)) {
    return { why: `${address} does not speak TLS: leave out the certificates (${details})`, never: true };
  }
  if (/certificate|altnames|self.signed|unable to get .*issuer/i.test(details)) {
    const remedy = "compare KAFKA_SIDECAR_CA, KAFKA_SIDECAR_CERT and KAFKA_SIDECAR_KEY with the sidecar's server.tls";
    return { why: `no TLS with ${address}: ${remedy} (${details})`, never: true };
  }
  if (/ECONNREFUSED|ENOENT|ENOTFOUND|EAI_AGAIN|Name resolution|No connection established/.test(details)) {
    return { why: `no sidecar answers at ${address} (${details}): does it run?`, never: false };
  }
  const mayNeedTls = !endpoint.isEncrypted && /ECONNRESET|socket hang up|Protocol error|dropped/i.test(details);
  const hint = mayNeedTls ? "; if the sidecar's server.tls is set, give KAFKA_SIDECAR_CA" : "";
  return { why: messageOf(error) + hint, never: false };
}
