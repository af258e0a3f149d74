// kafkajs: `eachBatch`, its own commit every second of what was resolved after handling.
"use strict";

const { Kafka, logLevel } = require("kafkajs");
const { fromCommandLine } = require("../tally.js");

async function main() {
  const { broker, topic, group, tally } = fromCommandLine();
  const kafka = new Kafka({ brokers: [broker], logLevel: logLevel.ERROR });
  const consumer = kafka.consumer({ groupId: group });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await consumer.run({
    autoCommitInterval: 1000,
    partitionsConsumedConcurrently: 8,
    eachBatch: async ({ batch }) => {
      const { messages } = batch;
      tally.batch(
        batch.partition,
        Number(messages[0].offset),
        Number(messages[messages.length - 1].offset),
        messages.length,
      );
    },
  });
  while (!tally.finished) await new Promise((resolve) => setTimeout(resolve, 10));
  await new Promise((resolve) => setTimeout(resolve, 1500)); // the interval of its last commit
  await consumer.disconnect();
}

main();
