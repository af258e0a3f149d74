/** Names of headers: bytes in Kafka, texts here. Bytes that are not UTF-8 come back as they were. */

const ESCAPED_FROM = 0xdc00; // half a surrogate pair, which no UTF-8 has: U+DC00 + the byte
const MAX_KEPT = 1000;
const MAX_KEPT_BYTES = 200;

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
// There are few names, and each comes again and again. One made up for each message costs time, but no memory.
const kept = new Map<string, string>();

/** The name as text. @internal */
export function nameText(bytes: Buffer): string {
  const raw = bytes.toString("latin1");
  const known = kept.get(raw);
  if (known !== undefined) return known;
  const text = decoded(bytes);
  if (raw.length <= MAX_KEPT_BYTES) {
    if (kept.size >= MAX_KEPT) kept.clear();
    kept.set(raw, text);
  }
  return text;
}

/** The bytes of a name. @internal */
export function nameBytes(name: string): Uint8Array {
  if (name.isWellFormed()) return Buffer.from(name);
  const parts = Array.from(name, (char) => {
    const code = char.codePointAt(0) ?? 0;
    const isEscaped = code >= ESCAPED_FROM + 0x80 && code <= ESCAPED_FROM + 0xff;
    return isEscaped ? Buffer.of(code - ESCAPED_FROM) : Buffer.from(char);
  });
  return Buffer.concat(parts);
}

function decoded(bytes: Buffer): string {
  try {
    return strict.decode(bytes);
  } catch {
    return Array.from(bytes, (byte) => String.fromCharCode(byte < 0x80 ? byte : ESCAPED_FROM + byte)).join("");
  }
}
