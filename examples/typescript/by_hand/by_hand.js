// A lambda without the SDK: it uses only grpc-js and proto/lambda.proto. One partition at a time.
//
//     npm install && node by_hand.js NAME [ADDRESS]

import { randomUUID } from "node:crypto";
import { fileURLToPath } from "node:url";
import { credentials, loadPackageDefinition } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const [name = "words", address = "127.0.0.1:50051"] = process.argv.slice(2);
const file = fileURLToPath(new URL("../../../proto/lambda.proto", import.meta.url));
const OPTIONS = {
  keepCase: true,
  longs: Number,
  enums: String,
  oneofs: true,
  arrays: true,
};
const proto = loadPackageDefinition(loadSync(file, OPTIONS));
const { LambdaHost } = proto.kafka_sidecar.v1;

// Two channels to one address share a connection unless each has a pool of its own.
const connect = () =>
  new LambdaHost(address, credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
  });
const [streams, calls] = [connect(), connect()];

const stream = streams.Serve();
let lease = "";

stream.on("data", (frame) => {
  switch (frame.frame) {
    case "welcome": // load what you need, then say that you can take a partition
      stream.write({ available: {} });
      break;
    case "assigned":
      lease = frame.assigned.lease;
      stream.write({ ready: { lease } });
      break;
    case "batch": {
      const { values, offsets, first_offset: first = 0 } = frame.batch;
      for (const value of values) console.log(value.toString());
      const offset = offsets.length > 0 ? offsets.at(-1) : first + values.length - 1;
      calls.Checkpoint({ entries: [{ lease, offset }] }, (error) => error && console.error(error.message));
      break;
    }
    case "revoked":
      stream.write({ closed: { reason: "CLOSED_REASON_REVOKED" } });
      stream.end();
  }
});
stream.on("error", (error) => console.error(error.message));
stream.on("status", () => [streams, calls].forEach((client) => client.close()));

stream.write({
  offer: { lambda_name: name, process_id: randomUUID(), protocol_version: 1 },
});
