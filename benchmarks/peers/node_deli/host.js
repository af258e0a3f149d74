// The published deli of Fluid's ordering service (server-lambdas 7.0.1) in its own host: `KafkaRunner` over node-rdkafka,
// the document router, `DeliLambdaFactory`, and its producers. Put together as the service's own `deli/index.ts` does,
// which is in no package; so are the settings of its `config.json`, which are restated here.
//
// Left out, in favour of this program: the broadcast of each operation to Redis (`BroadcasterLambda`), telemetry (its
// engine drops everything), and the tenant manager's question to another service for each document.
"use strict";

const nconf = require("nconf");
const { DeliLambdaFactory } = require("@fluidframework/server-lambdas");
const { DocumentLambdaFactory, KafkaRunnerFactory } = require("@fluidframework/server-lambdas-driver");
const { MongoDbFactory, createProducer } = require("@fluidframework/server-services");
const core = require("@fluidframework/server-services-core");
const { RdkafkaResourcesFactory } = require("@fluidframework/server-services-ordering-rdkafka");
const { Lumberjack } = require("@fluidframework/server-services-telemetry");

const [broker, raw, deltas, group, store, documents, checkpoints, saves] = process.argv.slice(2);

const config = new nconf.Provider({}).use("memory");
config.set("kafka:lib:name", "rdkafka");
config.set("kafka:lib:endpoint", broker);
config.set("kafka:lib:producerPollIntervalMs", 10);
config.set("kafka:lib:numberOfPartitions", 8);
config.set("kafka:lib:replicationFactor", 1);
config.set("kafka:lib:rdkafkaOptimizedRebalance", true);
config.set("kafka:lib:rdkafkaAutomaticConsume", true);
config.set("kafka:lib:rdkafkaConsumeTimeout", 5);
config.set("kafka:lib:rdkafkaMaxConsumerCommitRetries", 10);
config.set("kafka:customRestartOnKafkaErrorCodes", [-195, -192, -187, -185, -181, 14]);
config.set("checkpoints:ignoreCheckpointFlushException", false);
config.set("lambdas:deli", { group, topic: raw });
// Not in its config.json. The sidecar gives it to its own client: without it librdkafka rests for a second at a time.
config.set("kafka:lib:consumerGlobalAdditionalConfig", { "fetch.queue.backoff.ms": 2 });

const mongo = {
  operationsDbEndpoint: store,
  globalDbEnabled: false,
  directConnection: true,
};

const serviceConfiguration = {
  ...core.DefaultServiceConfiguration,
  deli: {
    ...core.DefaultServiceConfiguration.deli,
    // `seldom` is config.json's; `each` is the default of the class.
    checkpointHeuristics: { enable: saves === "seldom", idleTime: 10000, maxTime: 60000, maxMessages: 500 },
    restartOnCheckpointFailure: true,
    kafkaCheckpointOnReprocessingOp: false,
  },
};

// Deli asks for it once for each document, and uses it only for documents that have a summary. These have none.
const tenantManager = { getTenantGitManager: async () => ({}) };

function producer(clientId, topic, idempotent) {
  const lib = config.get("kafka:lib");
  return createProducer(
    lib.name,
    lib.endpoint,
    clientId,
    topic,
    idempotent,
    lib.producerPollIntervalMs,
    lib.numberOfPartitions,
    lib.replicationFactor,
  );
}

async function createDeli() {
  const manager = new core.MongoManager(new MongoDbFactory(mongo), false);
  const database = await manager.getDatabase();
  const documentRepository = new core.MongoDocumentRepository(database.collection(documents));
  const checkpointRepository = new core.MongoCheckpointRepository(database.collection(checkpoints), "deli");
  const localCheckpointEnabled = true;
  return new DeliLambdaFactory(
    manager,
    documentRepository,
    new core.CheckpointService(checkpointRepository, documentRepository, localCheckpointEnabled),
    tenantManager,
    undefined, // client manager: the service has none here either
    producer("deli", deltas, true),
    undefined, // signals
    producer("alfred", raw, false),
    serviceConfiguration,
  );
}

const plugin = {
  id: "deli",
  create: async () => new DocumentLambdaFactory(await createDeli(), serviceConfiguration.documentLambda),
};

// Nothing that fails here may look like a slow run. The host logs much else as an error that is none.
const complain = (event) => (error) => {
  process.stderr.write(`${event}: ${error?.stack ?? error}\n`);
  process.exit(1);
};

async function main() {
  Lumberjack.setup([{ emit() {} }]);
  const resources = await new RdkafkaResourcesFactory("deli", plugin).create(config);
  const runner = await new KafkaRunnerFactory().create(resources);
  process.once("SIGTERM", () => runner.stop("sigterm"));
  await runner.start(undefined);
  process.exit(0); // its timers would go on
}

process.on("uncaughtException", complain("uncaught"));
main().catch(complain("the host failed"));
