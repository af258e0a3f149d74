// Restate: its server, which reads Kafka, and a service or a virtual object (`object`: one call at a time for each key)
// whose handler counts. The server is a child of this process, with a fresh folder for its log and its state.
"use strict";

const { spawn } = require("node:child_process");
const fs = require("node:fs");
const net = require("node:net");
const path = require("node:path");

// The SDK needs it; Node has it from version 22 on.
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new this((...both) => ([resolve, reject] = both));
  return { promise, resolve, reject };
};

process.env.RESTATE_LOGGING = "ERROR"; // by default it writes lines for each call
const restate = require("@restatedev/restate-sdk");
const { fromCommandLine } = require("../tally.js");

const { broker, topic, group, tally } = fromCommandLine();
const [kind, folder] = process.argv.slice(7);
const isObject = kind === "object";

const handler = async (context) => {
  const { headers } = context.request();
  tally.scattered(Number(headers.get("kafka.partition")), Number(headers.get("kafka.offset")), isObject ? context.key : undefined);
};
const count = isObject
  ? restate.object({
      name: "counter",
      handlers: { count: restate.handlers.object.exclusive({ input: restate.serde.binary }, handler) },
    })
  : restate.service({
      name: "counter",
      handlers: { count: restate.handlers.handler({ input: restate.serde.binary }, handler) },
    });

async function main() {
  const [node, admin, ingress, app] = await freePorts(4);
  await restate.serve({ services: [count], port: app });
  const server = startServer(node, admin, ingress);
  server.on("exit", (code) => {
    if (!tally.finished) throw new Error(`restate-server ended with ${code}`);
  });
  await called(`http://127.0.0.1:${admin}/deployments`, { uri: `http://127.0.0.1:${app}` });
  await called(`http://127.0.0.1:${admin}/subscriptions`, {
    source: `kafka://bench/${topic}`,
    sink: "service://counter/count",
    options: { "group.id": group, "auto.offset.reset": "earliest", "auto.commit.interval.ms": "1000" },
  });
  while (!tally.finished) await new Promise((resolve) => setTimeout(resolve, 10));
  await new Promise((resolve) => setTimeout(resolve, 1500)); // the interval of its last commit
  server.kill();
  await new Promise((resolve) => server.once("exit", resolve));
  process.exit(0);
}

function startServer(node, admin, ingress) {
  const config = path.join(folder, "restate.toml");
  fs.writeFileSync(
    config,
    `
disable-telemetry = true
bind-ip = "127.0.0.1"
bind-port = ${node}
listen-mode = "tcp"
base-dir = "${folder}/data"
log-filter = "error"
[admin]
bind-port = ${admin}
[ingress]
bind-port = ${ingress}
[[ingress.kafka-clusters]]
name = "bench"
brokers = ["PLAINTEXT://${broker}"]
"fetch.queue.backoff.ms" = "2"
`,
  );
  const named = `@restatedev/restate-server-${process.platform}-${process.arch}/package.json`;
  const program = path.join(path.dirname(require.resolve(named)), "bin", "restate-server");
  return spawn(program, ["--no-logo", "--config-file", config], { stdio: ["ignore", 2, 2] });
}

// The server's answer, once it gives one: it starts meanwhile.
async function called(url, body) {
  for (const began = Date.now(); ; ) {
    const said = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    }).catch((error) => ({ ok: false, text: async () => String(error.cause ?? error) }));
    if (said.ok) return;
    if (Date.now() - began > 60_000) throw new Error(`${url}: ${await said.text()}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function freePorts(number) {
  const probes = Array.from({ length: number }, () => net.createServer());
  const ports = [];
  for (const probe of probes) {
    await new Promise((resolve) => probe.listen(0, "127.0.0.1", resolve));
    ports.push(probe.address().port);
  }
  for (const probe of probes) await new Promise((resolve) => probe.close(resolve));
  return ports;
}

main();
