// Plays sessions on the published document router, as `deli.js` does on the published deli.
"use strict";

const { EventEmitter } = require("node:events");
const { createInterface } = require("node:readline");
const path = require("node:path");
const clock = require("./clock.js");

const modules = process.argv[2];
clock.install();
const from = (name) => require(path.join(modules, "@fluidframework", name));
const { DocumentLambda } = from("server-lambdas-driver/dist/document-router/documentLambda.js");
const { Lumberjack } = from("server-services-telemetry");

Lumberjack.setup([{ emit() {} }]);

const SETTINGS = { partitionActivityTimeout: 600000, partitionActivityCheckInterval: 60000 };

class Player {
  constructor() {
    this.out = [];
    clock.set(1000000);
    this.open();
  }

  open() {
    this.documents = new Map();
    const factory = new EventEmitter();
    factory.create = async ({ tenantId, documentId }, context) => {
      const messages = new Map();
      this.documents.set(documentId, { context, messages });
      this.out.push(`create(${tenantId}/${documentId})`);
      return {
        handler: (message) => {
          messages.set(message.offset, message);
          this.out.push(`${documentId}.handler(${message.offset})`);
          return undefined;
        },
        close: (reason) => this.out.push(`${documentId}.close(${reason})`),
      };
    };
    const context = {
      checkpoint: ({ offset }) => this.out.push(`CP ${offset}`),
      error: (error) => this.out.push(`ERR ${error}`),
      log: undefined,
    };
    this.lambda = new DocumentLambda(factory, context, SETTINGS);
  }

  async step([what, first, second, third]) {
    switch (what) {
      case "msg": {
        const boxcar = { type: "boxcar", tenantId: "t", documentId: second, contents: [] };
        const value = third ?? JSON.stringify(boxcar);
        this.lambda.handler({ topic: "x", partition: 0, offset: first, value });
        return clock.settled();
      }
      case "cp": {
        const { context, messages } = this.documents.get(first);
        context.checkpoint(messages.get(second));
        return clock.settled();
      }
      case "tick":
        return clock.advance(first);
      case "restart":
        this.lambda.close("Rebalance");
        this.open();
        return clock.settled();
      case "close":
        this.lambda.close(first);
        return clock.settled();
      default:
        throw new Error(`no step ${what}`);
    }
  }

  async play(steps) {
    const answers = [];
    for (const step of steps) {
      this.out = [];
      await this.step(step);
      answers.push(this.out);
    }
    return answers;
  }
}

async function main() {
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await new Player().play(JSON.parse(line).steps))}\n`);
  }
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
