// Plays sessions on the published deli: a session in JSON a line comes in, the answers to its steps in a line go out.
// `sessions.py` says what the steps are, `played.py` plays them on ours.
"use strict";

const { createInterface } = require("node:readline");
const path = require("node:path");
const clock = require("./clock.js");

const modules = process.argv[2];
clock.install();
const from = (name) => require(path.join(modules, "@fluidframework", name));
const { DeliLambda } = from("server-lambdas/dist/deli/lambda.js");
const { DefaultServiceConfiguration } = from("server-services-core");
const { Lumberjack } = from("server-services-telemetry");

Lumberjack.setup([{ emit() {} }]);

const TENANT = "t1";
const DOCUMENT = "d1";
const EVENTS = ["opEvent", "updatedDurableSequenceNumber", "updatedNackMessages", "summarizeMessage", "controlMessage", "noClient"];

class Player {
  constructor(session) {
    this.session = session;
    this.out = [];
    this.loop = [];
    this.log = [];
    this.offset = -1;
    this.stored = session.state;
    this.committed = -1;
    this.hangs = false;
    this.writes = [];
    clock.set(session.now);
    this.open();
  }

  open() {
    this.life = {};
    const life = this.life;
    const tell = (entry) => {
      if (life === this.life) {
        this.out.push(entry);
      }
    };
    const producer = (kind) => ({
      send: async (messages) => {
        // As it is at this moment: the producer writes it into Kafka's buffer.
        const msgs = JSON.parse(JSON.stringify(messages));
        tell({ kind, msgs });
        if (kind === "rawdeltas") {
          this.loop.push(...msgs);
        }
      },
    });
    const write = (kind, state, reason) => {
      const text = state === undefined ? undefined : JSON.stringify(state);
      tell({ kind, reason, ...(text === undefined ? {} : { state: JSON.parse(text) }) });
      return new Promise((resolve, reject) => {
        const done = () => {
          this.stored = text === undefined ? this.stored : JSON.parse(text);
          resolve();
        };
        if (this.hangs) {
          this.writes.push({ life, done, fail: () => reject(new Error("a save failed")) });
        } else {
          done();
        }
      });
    };
    const context = {
      checkpoint: ({ offset }) => {
        const stored = this.stored.logOffset;
        tell({ kind: "kafkaCheckpoint", offset, stored });
        if (offset <= stored && offset > this.committed) {
          this.committed = offset;
        }
      },
      error: (error, data) => tell({ kind: "error", error: String(error), restart: data.restart }),
      log: undefined,
    };
    const states = {
      writeCheckpoint: async (state, _, reason) => write("stateCheckpoint", state, reason),
      // Nothing is deleted: there is no summary here that the state could be loaded from.
      deleteCheckpoint: async (checkpoint) => write("stateCheckpoint", checkpoint.deliState, checkpoint.reason),
    };
    // The service's is elsewhere. What it is there for: a client that it extends expires later.
    const clients = {
      extendSequencedClients: async (_tenant, _document, extended, timeout) => {
        tell({ kind: "event:extendClients", detail: [...extended.keys()] });
        for (const client of extended.values()) {
          client.exp = Date.now() + timeout;
        }
      },
    };
    const configuration = {
      ...DefaultServiceConfiguration,
      enableTraces: true,
      enableLumberjack: false,
      deli: { ...DefaultServiceConfiguration.deli, ...this.session.config },
    };
    for (const name of ["checkpointHeuristics", "summaryNackMessages", "opEvent"]) {
      configuration.deli[name] = { ...DefaultServiceConfiguration.deli[name], ...this.session.config[name] };
    }
    this.lambda = new DeliLambda(
      context,
      TENANT,
      DOCUMENT,
      JSON.parse(JSON.stringify(this.stored)),
      states,
      clients,
      producer("deltas"),
      this.session.signals ? producer("signals") : undefined,
      producer("rawdeltas"),
      configuration,
      undefined,
      undefined,
    );
    for (const name of EVENTS) {
      this.lambda.on(name, (...details) => tell({ kind: `event:${name}`, ...eventOf(name, details) }));
    }
  }

  async put(contents, offset) {
    const value = JSON.stringify({ contents, documentId: DOCUMENT, tenantId: TENANT, type: "boxcar" });
    this.log.push({ value, offset });
    await this.handle(value, offset);
  }

  async handle(value, offset) {
    const { checkpointInfo } = this.lambda.documentCheckpointManager;
    const before = checkpointInfo.currentCheckpointMessage;
    const again = offset <= this.lambda.logOffset;
    this.lambda.handler({ topic: "rawdeltas", partition: 0, offset, value });
    if (again) {
      // A record that comes again keeps it from saving when it rests. That difference is documented, and put aside.
      checkpointInfo.currentCheckpointMessage = before;
    }
    await clock.settled();
  }

  async step([what, argument, gap]) {
    switch (what) {
      case "put":
        this.offset += 1 + (gap ?? 0);
        return this.put(argument, this.offset);
      case "loop":
        if (this.loop.length > 0) {
          this.offset += 1;
          return this.put([this.loop.shift()], this.offset);
        }
        return undefined;
      case "again": {
        const record = this.log[this.log.length - 1 - argument];
        return record && this.handle(record.value, record.offset);
      }
      case "advance":
        return clock.advance(argument);
      case "hang":
        this.hangs = true;
        return undefined;
      case "saved":
      case "unsaved": {
        this.hangs = argument;
        const write = this.writes.shift();
        write?.[what === "saved" ? "done" : "fail"]();
        return clock.settled();
      }
      case "restart":
        this.lambda.close("Rebalance");
        this.life = undefined;
        this.writes = [];
        this.hangs = false;
        clock.set(Date.now());
        this.open();
        await clock.settled();
        for (const { value, offset } of this.log.filter((one) => one.offset > this.committed)) {
          await this.handle(value, offset);
        }
        return undefined;
      default:
        throw new Error(`no step ${what}`);
    }
  }

  async play() {
    await clock.settled();
    const answers = [this.out];
    for (const step of this.session.steps) {
      this.out = [];
      try {
        await this.step(step);
      } catch (error) {
        answers.push([{ kind: "thrown", error: String(error) }]);
        break;
      }
      answers.push(this.out);
    }
    this.lambda.close("Stop");
    return answers;
  }
}

function eventOf(name, details) {
  switch (name) {
    case "opEvent":
      return { detail: details };
    case "updatedDurableSequenceNumber":
      return { detail: details[0] };
    case "updatedNackMessages":
      return { detail: [details[0], details[1] !== undefined] };
    default:
      return {};
  }
}

async function main() {
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await new Player(JSON.parse(line)).play())}\n`);
  }
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
