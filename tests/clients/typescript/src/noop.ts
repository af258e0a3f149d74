/** A lambda that counts records and checkpoints each of them, for the benchmark: noop NAME. */

import { serve } from "kafka-sidecar-sdk";

let count = 0;

await serve(process.argv[2] ?? "noop", (message, context) => {
  count += 1;
  context.checkpoint(message);
});
process.stdout.write(`${String(count)} records\n`);
