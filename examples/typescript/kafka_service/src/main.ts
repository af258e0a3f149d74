/** Serves a published lambda: node dist/src/main.js deli|scriptorium [NAME OF THE LAMBDA IN THE SIDECAR'S CONFIG]. */

import { MongoDbFactory, TenantManager } from "@fluidframework/server-services";
import { MongoManager, type ITenantManager } from "@fluidframework/server-services-core";
import { Lumberjack } from "@fluidframework/server-services-telemetry";
import { serve, type ISettings } from "kafka-sidecar-sdk";
import { hosted } from "./adapter.js";
import { deli } from "./deli.js";
import { scriptorium } from "./scriptorium.js";
import type { Stores } from "./stores.js";

const SERVICES = { deli, scriptorium };

function stores(settings: ISettings): Stores {
  const mongo = settings.get("mongo") as ConstructorParameters<typeof MongoDbFactory>[0] | undefined;
  if (mongo?.operationsDbEndpoint === undefined) {
    throw new Error("settings: mongo.operationsDbEndpoint is missing, such as mongodb://mongodb:27017");
  }
  return { mongo: new MongoManager(new MongoDbFactory(mongo), false), tenants: tenants(settings) };
}

function tenants(settings: ISettings): ITenantManager {
  const endpoint = settings.get("auth:endpoint") as string | undefined;
  const historian = settings.get("worker:internalBlobStorageUrl") as string | undefined;
  if (endpoint !== undefined && historian !== undefined) return new TenantManager(endpoint, historian);
  const none = {
    // A document whose state was cleared. With an empty state it would be numbered from 1 again: rather try for ever.
    getRef: () => {
      const text =
        "settings: auth.endpoint and worker.internalBlobStorageUrl are missing, and this document needs its summary";
      throw Object.assign(new Error(text), { shouldRestart: true });
    },
  };
  return { getTenantGitManager: async () => none } as unknown as ITenantManager;
}

// Metrics and logs of the published code: your engines go here. What stops a lambda is in the sidecar's status and log.
Lumberjack.setup([{ emit: () => undefined }]);

const [, , service = "", name = service] = process.argv;
const open = Object.hasOwn(SERVICES, service) ? SERVICES[service as keyof typeof SERVICES] : undefined;
if (open === undefined) {
  process.stderr.write(`usage: node dist/src/main.js ${Object.keys(SERVICES).join("|")} [NAME]\n`);
  process.exitCode = 2;
} else {
  await serve(
    name,
    hosted(async (settings) => open(settings, stores(settings))),
  );
  process.exit(); // all is drained and closed; timers of the published code would go on
}
