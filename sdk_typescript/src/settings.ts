/**
 * A lambda's settings in layers: those of the sidecar's config, which come with Welcome, and over them the environment
 * variables `KAFKA_SIDECAR_SET_name`, in which `__` goes one level down. A value that is JSON is parsed; anything else
 * is a text. The case of a name is that of the variable, unless a key differs from it in nothing but case.
 */

import { SettingsError } from "./errors.js";
import type { ISettings } from "./interfaces.js";

const PREFIX = "KAFKA_SIDECAR_SET_";

type Values = Record<string, unknown>;

/** Merges both layers. Throws {@link SettingsError}. @internal */
export function layered(settingsJson: string, environment: NodeJS.ProcessEnv): ISettings {
  const values = parsed(settingsJson || "{}");
  if (!isObject(values)) throw new SettingsError("the sidecar's settings are no JSON object: mend its config");
  for (const name of Object.keys(environment).sort()) {
    if (!name.startsWith(PREFIX)) continue;
    const path = name.slice(PREFIX.length).split("__");
    if (path.includes("")) throw new SettingsError(`environment variable ${name}: a part of the key is empty`);
    put(values, path, parsed(environment[name] ?? ""));
  }
  return settingsOf(values);
}

/** Settings with these values. @internal */
export function settingsOf(values: Values): ISettings {
  const frozen = freeze(values);
  return {
    get: (path?: string) => {
      let found: unknown = frozen;
      for (const part of path === undefined ? [] : path.split(":")) {
        found = isObject(found) && Object.hasOwn(found, part) ? found[part] : undefined;
      }
      return found;
    },
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

function put(values: Values, path: readonly string[], value: unknown): void {
  let level = values;
  for (const part of path.slice(0, -1)) {
    const key = spelling(level, part);
    const below = own(level, key);
    level = isObject(below) ? below : define(level, key, {}); // a plain value gives way to an object
  }
  define(level, spelling(level, path[path.length - 1] ?? ""), value);
}

function spelling(values: Values, part: string): string {
  if (Object.hasOwn(values, part)) return part;
  return Object.keys(values).find((key) => key.toLowerCase() === part.toLowerCase()) ?? part;
}

function own(values: Values, key: string): unknown {
  return Object.hasOwn(values, key) ? values[key] : undefined;
}

/** Sets a property of its own, also where the name is `__proto__`. */
function define<T>(values: Values, key: string, value: T): T {
  Object.defineProperty(values, key, { value, enumerable: true, writable: true, configurable: true });
  return value;
}

function isObject(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function freeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(freeze);
  }
  return value;
}
