/** The settings of scriptorium. All times are seconds. */

/** `url` may contain a password: it is in no log and no error. */
export interface Settings {
  readonly url: string;
  readonly database: string;
  readonly collection: string;
  /** The largest number of operations in one insert (SC-5); 0: no limit. */
  readonly max_db_batch_size: number;
  /** While this many operations wait for the batch in flight, no further message is handled. */
  readonly max_pending: number;
  /** The server removes operations that are older, if it can; null: never. */
  readonly expire_after: number | null;
  /** How long an insert that failed waits before each further attempt (SC-8). */
  readonly retry_waits: readonly number[];
  /** Interval of the checks of the database in a pause. */
  readonly health_interval: number;
  /** How long an attempt looks for a writable server, and waits for its answer. */
  readonly selection_timeout: number;
  readonly socket_timeout: number;
}

export const DEFAULTS: Settings = {
  url: "mongodb://127.0.0.1:27017",
  database: "fluid",
  collection: "deltas",
  max_db_batch_size: 1000,
  max_pending: 10_000,
  expire_after: null,
  retry_waits: [1, 2, 4],
  health_interval: 5,
  selection_timeout: 2,
  socket_timeout: 20,
};

const isCount = (value: unknown, least: number): boolean => Number.isSafeInteger(value) && (value as number) >= least;
const isName = (value: unknown): boolean => typeof value === "string" && value !== "";
const isTime = (value: unknown): boolean => typeof value === "number" && value > 0 && value < Infinity;
const isWait = (value: unknown): boolean => typeof value === "number" && value >= 0 && value < Infinity;

const CHECKS: Record<keyof Settings, [check: (value: unknown) => boolean, wanted: string]> = {
  url: [
    (value) => typeof value === "string" && /^mongodb(\+srv)?:\/\//.test(value),
    "a text that begins with mongodb:// or mongodb+srv://",
  ],
  database: [isName, "a text that is not empty"],
  collection: [isName, "a text that is not empty"],
  max_db_batch_size: [(value) => isCount(value, 0), "a whole number, 0 for no limit"],
  max_pending: [(value) => isCount(value, 1), "a whole number above 0"],
  expire_after: [
    (value) => value === null || isCount(value, 1),
    "a whole number of seconds above 0, or null for never",
  ],
  retry_waits: [(value) => Array.isArray(value) && value.every(isWait), "a list of seconds, such as [1, 2, 4]"],
  health_interval: [isTime, "a number of seconds above 0"],
  selection_timeout: [isTime, "a number of seconds above 0"],
  socket_timeout: [isTime, "a number of seconds above 0"],
};

/** Checks the lambda's settings. Throws when one is unknown or wrong; the text never contains the url. */
export function settingsOf(given: Readonly<Record<string, unknown>>): Settings {
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(CHECKS, name)) {
      throw new Error(`unknown setting ${JSON.stringify(name)}: scriptorium knows ${Object.keys(CHECKS).join(", ")}`);
    }
    const [check, wanted] = CHECKS[name as keyof Settings];
    const shown = name === "url" ? "" : `, got ${JSON.stringify(value)}`;
    if (!check(value)) throw new Error(`setting ${name}: expected ${wanted}${shown}`);
  }
  return { ...DEFAULTS, ...given };
}
