/** The published scriptorium: it stores sequenced operations. */

import { ScriptoriumLambdaFactory } from "@fluidframework/server-lambdas";
import type { ISettings } from "kafka-sidecar-sdk";
import type { Service } from "./adapter.js";
import { collections, type Stores } from "./stores.js";

/** Opens scriptorium over these stores. `scriptorium` in the settings is what its factory takes. */
export async function scriptorium(settings: ISettings, { mongo }: Stores): Promise<Service> {
  const database = await mongo.getDatabase();
  const operations = database.collection<Record<string, unknown>>(collections(settings).deltas);
  await operations.createIndex({ documentId: 1, "operation.sequenceNumber": 1, tenantId: 1 }, true);
  const options = settings.get("scriptorium") as Record<string, unknown> | undefined;
  const factory = new ScriptoriumLambdaFactory(mongo, operations, options);
  factory.setMaxListeners(0); // one for each partition
  return { factory: () => factory, close: () => factory.dispose() };
}
