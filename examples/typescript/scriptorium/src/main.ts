/** Serves scriptorium: node dist/src/main.js [NAME]. */

import { serve } from "kafka-sidecar-sdk";
import { scriptorium } from "./plugin.js";

await serve(process.argv[2] ?? "scriptorium", scriptorium());
