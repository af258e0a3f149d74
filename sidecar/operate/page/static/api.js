// The sidecar's API. The operators' token is kept for this tab only, and travels in a header: no cookie is involved.

const KEY = "kafka-sidecar-token";

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export const unlocked = () => sessionStorage.getItem(KEY) !== null;

export function lock() {
  sessionStorage.removeItem(KEY);
}

// Keeps the token if the sidecar accepts it. Throws `Refused`.
export async function unlock(token) {
  await call("/api/access", {}, token);
  sessionStorage.setItem(KEY, token);
}

export const read = (path) => call(path, {});

export const order = (path, body) =>
  call(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

async function call(path, options, token = sessionStorage.getItem(KEY)) {
  const headers = { ...options.headers, ...(token === null ? {} : { authorization: `Bearer ${token}` }) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, credentials: "omit", cache: "no-store" });
  } catch {
    throw new Refused(0, "The sidecar does not answer.");
  }
  const said = await answer.json().catch(() => ({}));
  if (answer.ok) return said;
  throw new Refused(answer.status, said.error ?? `The sidecar refuses (${answer.status}).`);
}

// Calls `heard(name, document)` for each event, and `lost(text)` when there is no connection. Tries again by itself.
export function listen(heard, lost) {
  const events = new EventSource("/api/events");
  for (const name of ["status", "history", "silent"]) {
    events.addEventListener(name, (event) => heard(name, JSON.parse(event.data)));
  }
  events.addEventListener("error", () => {
    lost("no connection to the sidecar, trying again");
    if (events.readyState !== EventSource.CLOSED) return;
    events.close(); // the sidecar refused, and a browser does not ask again after that
    setTimeout(() => listen(heard, lost), 3000);
  });
}
