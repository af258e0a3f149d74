// What states are called, and how numbers and times are written.

const number = new Intl.NumberFormat("en");

export const count = (value) => number.format(value);

export const many = (value, one, several) => `${count(value)} ${value === 1 ? one : several}`;

// How many pieces of a lambda's topics: lanes where its partitions have them, else partitions.
export const pieces = (value, lanes) =>
  lanes > 1 ? many(value, "lane", "lanes") : many(value, "partition", "partitions");

export function rate(value) {
  if (!value) return "0";
  return value < 10 ? value.toFixed(1) : count(Math.round(value));
}

export function bytes(value) {
  if (value < 1024) return many(value, "byte", "bytes");
  return value < 1024 * 1024 ? `${count(Math.round(value / 1024))} KiB` : `${(value / 1048576).toFixed(1)} MiB`;
}

export function ago(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

export const clock = (milliseconds) => new Date(milliseconds).toLocaleTimeString("en-GB");

export function moment(milliseconds) {
  const date = new Date(milliseconds);
  return `${date.toLocaleDateString("en-CA")} ${date.toLocaleTimeString("en-GB")}`;
}

export const lag = (one) =>
  one.end === undefined || one.committed === undefined ? null : Math.max(0, one.end - one.committed);

// The lags of some rows. Lanes of a partition share its log: the lag of the lowest is the partition's.
export function lagOf(partitions) {
  const lags = new Map();
  for (const one of partitions) {
    const whole = `${one.topic}/${one.partition ?? 0}`;
    lags.set(whole, Math.max(lags.get(whole) ?? 0, lag(one) ?? 0));
  }
  return [...lags.values()].reduce((sum, each) => sum + each, 0);
}

// The number of the lane, of a row or of a finding's place; undefined: the partition has none.
export function laneOf(one) {
  if (one.lanes === undefined) return one.lane;
  return one.lanes > 1 ? (one.lane ?? 0) : undefined;
}

export function nameOf(one) {
  const lane = laneOf(one);
  return `${one.topic}/${one.partition ?? 0}${lane === undefined ? "" : `.${lane}`}`;
}

// The state of a partition as one word of ours, its sign, and how urgent it is: 0 needs a person.
const STATES = {
  halted: ["■", 0],
  stalled: ["▲", 0],
  "backing off": ["↻", 1],
  paused: ["‖", 2],
  blocked: ["▲", 2],
  resolving: ["…", 3],
  draining: ["↓", 3],
  starting: ["↑", 3],
  waiting: ["○", 3],
  running: ["●", 4],
};

export function stateOf(one) {
  const state = (one.state ?? "unknown").replace("PARTITION_STATE_", "").toLowerCase().replaceAll("_", " ");
  if (state !== "running") return state;
  if (one.stalled_since_ms !== undefined) return "stalled";
  return one.blocked_since_ms === undefined ? "running" : "blocked";
}

// Since when the partition is in that state, in milliseconds since the Unix epoch.
export function sinceOf(one) {
  const state = stateOf(one);
  if (state === "stalled") return one.stalled_since_ms;
  return state === "blocked" ? one.blocked_since_ms : one.state_since_ms;
}

export const signOf = (state) => (STATES[state] ?? ["?"])[0];

export const urgencyOf = (one) => (STATES[stateOf(one)] ?? ["", 3])[1];

// What a row says beside its state, in one line.
export function noteOf(one, now) {
  const notes = [];
  if (one.reason) notes.push(one.reason);
  if (one.failing_offset !== undefined) notes.push(`fails at offset ${one.failing_offset}`);
  if (one.stalled_since_ms) notes.push(`no checkpoint for ${ago(now - one.stalled_since_ms)}`);
  else if (one.blocked_since_ms) notes.push(`window full for ${ago(now - one.blocked_since_ms)}`);
  if (one.progress) notes.push(`says ${one.progress}`);
  if (one.overdue_at_ms && one.overdue_at_ms - now <= 30_000)
    notes.push(`ended in ${ago(Math.max(0, one.overdue_at_ms - now))} without progress`);
  if (one.resumes_at_ms) notes.push(`goes on by itself in ${ago(one.resumes_at_ms - now)}`);
  if (one.next_retry_at_ms) notes.push(`tried again in ${ago(one.next_retry_at_ms - now)}`);
  if (one.attempt > 1) notes.push(`attempt ${one.attempt}`);
  if (one.skipping_count) notes.push(`skips ${many(one.skipping_count, "corrupt document", "corrupt documents")}`);
  return notes.join("; ");
}
