// The Node host of Fluid's ordering service (`KafkaRunner` of server-lambdas-driver, 7.0.1) over its rdkafka consumer,
// with a lambda that counts, and checkpoints every second what it has handled. Put together as its own services are:
// a resources factory with a plugin, and a runner.
"use strict";

const nconf = require("nconf");
const { KafkaRunnerFactory } = require("@fluidframework/server-lambdas-driver");
const { RdkafkaResourcesFactory } = require("@fluidframework/server-services-ordering-rdkafka");
const { Lumberjack } = require("@fluidframework/server-services-telemetry");
const { EventEmitter } = require("node:events");
const { fromCommandLine } = require("../tally.js");

const { broker, topic, group, tally } = fromCommandLine();

class Counting {
  constructor(context) {
    this.context = context;
    this.last = undefined;
    this.timer = setInterval(() => this.checkpoint(), 1000);
  }

  handler(message) {
    this.last = message;
    tally.batch(message.partition, message.offset, message.offset, 1);
    return undefined;
  }

  checkpoint() {
    if (this.last !== undefined) this.context.checkpoint(this.last);
  }

  close() {
    clearInterval(this.timer);
  }
}

class Factory extends EventEmitter {
  async create(_, context) {
    return new Counting(context);
  }

  async dispose() {}
}

const plugin = { id: "counting", create: async () => new Factory() };

async function main() {
  Lumberjack.setup([{ emit() {} }]);
  const config = new nconf.Provider({}).use("memory");
  config.set("kafka:lib:endpoint", broker);
  config.set("kafka:lib:numberOfPartitions", 8);
  config.set("kafka:lib:replicationFactor", 1);
  config.set("kafka:lib:rdkafkaOptimizedRebalance", true);
  config.set("kafka:lib:consumerGlobalAdditionalConfig", { "fetch.queue.backoff.ms": 2 });
  config.set("lambdas:counting", { group, topic });
  const resources = await new RdkafkaResourcesFactory("counting", plugin).create(config);
  const runner = await new KafkaRunnerFactory().create(resources);
  const running = runner.start(undefined);
  while (!tally.finished) await new Promise((resolve) => setTimeout(resolve, 10));
  await new Promise((resolve) => setTimeout(resolve, 1500)); // the interval of its last checkpoint
  await runner.stop("sigterm");
  await running;
  process.exit(0);
}

main();
