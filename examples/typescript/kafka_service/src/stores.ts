/** What the published lambdas keep their state in. */

import type { ITenantManager, MongoManager } from "@fluidframework/server-services-core";
import type { ISettings } from "kafka-sidecar-sdk";

export interface Stores {
  readonly mongo: MongoManager;
  /** deli asks it for the summaries of documents whose state was cleared. */
  readonly tenants: ITenantManager;
}

/** The names of the collections: those of config.json. */
export function collections(settings: ISettings): { documents: string; checkpoints: string; deltas: string } {
  const defaults = { documents: "documents", checkpoints: "checkpoints", deltas: "deltas" };
  return { ...defaults, ...(settings.get("mongo:collectionNames") as Partial<typeof defaults> | undefined) };
}
