// Confluent's JavaScript client: `eachBatch`, its own commit every second of what was resolved after handling.
"use strict";

const { KafkaJS } = require("@confluentinc/kafka-javascript");
const { fromCommandLine } = require("../tally.js");

async function main() {
  const { broker, topic, group, tally } = fromCommandLine();
  const kafka = new KafkaJS.Kafka({ kafkaJS: { brokers: [broker], logLevel: KafkaJS.logLevel.ERROR } });
  const consumer = kafka.consumer({
    kafkaJS: { groupId: group, fromBeginning: true, autoCommit: true, autoCommitInterval: 1000 },
    "fetch.queue.backoff.ms": 2,
    "js.consumer.max.batch.size": 1000,
    "js.consumer.max.cache.size.per.worker.ms": 100,
  });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic] });
  await consumer.run({
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
