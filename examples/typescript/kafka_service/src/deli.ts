/** The published deli: a sequencer for each document, behind the published document router. */

import { DeliLambdaFactory } from "@fluidframework/server-lambdas";
import * as core from "@fluidframework/server-services-core";
import type { ISettings } from "kafka-sidecar-sdk";
import type { Service } from "./adapter.js";
import { Producer } from "./producer.js";
import { RouterFactory } from "./router.js";
import { collections, type Stores } from "./stores.js";

/** Opens deli over these stores. The settings have the names of the service's config.json. */
export async function deli(settings: ISettings, { mongo, tenants }: Stores): Promise<Service> {
  const database = await mongo.getDatabase();
  const names = collections(settings);
  const documents = new core.MongoDocumentRepository(database.collection<core.IDocument>(names.documents));
  const states = new core.MongoCheckpointRepository(database.collection<core.ICheckpoint>(names.checkpoints), "deli");
  const isLocal = (settings.get("checkpoints:localCheckpointEnabled") as boolean | undefined) ?? true;
  const checkpoints = new core.CheckpointService(states, documents, isLocal);
  const configuration = configurationOf(settings);
  const deltas = (settings.get("deli:topics:send") as string | undefined) ?? "deltas";
  return {
    factory: (context) => {
      const factory = new DeliLambdaFactory(
        mongo,
        documents,
        checkpoints,
        tenants,
        undefined, // client manager: the service has none here either
        new Producer(context, deltas),
        undefined, // signals
        new Producer(context, context.topic), // what deli says to itself comes back through the topic that it reads
        configuration,
      );
      return new RouterFactory(factory, configuration.documentLambda, context);
    },
    close: () => mongo.close(),
  };
}

function configurationOf(settings: ISettings): core.IServiceConfiguration {
  const defaults = core.DefaultServiceConfiguration;
  const given = (settings.get("deli") ?? {}) as Partial<core.IDeliServerConfiguration>;
  return {
    ...defaults,
    enableLumberjack: (settings.get("enableLumberjack") as boolean | undefined) ?? false,
    deli: {
      ...defaults.deli,
      ...given,
      checkpointHeuristics: { ...defaults.deli.checkpointHeuristics, ...given.checkpointHeuristics },
      opEvent: { ...defaults.deli.opEvent, ...given.opEvent },
      summaryNackMessages: { ...defaults.deli.summaryNackMessages, ...given.summaryNackMessages },
    },
    documentLambda: { ...defaults.documentLambda, ...(settings.get("documentLambda") as object | undefined) },
  };
}
