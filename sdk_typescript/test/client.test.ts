import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import {
  create,
  fromBinary,
  toBinary,
  type DescMessage,
  type Message,
  type MessageInitShape,
} from "@bufbuild/protobuf";
import { Server, ServerCredentials, status, type Metadata, type ServerDuplexStream } from "@grpc/grpc-js";
import { RefusedError, serve, SettingsError, type IPlugin, type MessageHandler } from "../src/index.js";
import * as pb from "../src/protocol/lambda_pb.js";
import { silent, until } from "./helpers.js";

type Call = ServerDuplexStream<pb.LambdaFrame, pb.HostFrame>;

interface Spare {
  readonly call: Call;
  readonly frames: pb.LambdaFrame["frame"][];
  readonly peer: string;
}

/** A sidecar that a test plays, over a unix socket. */
class Host {
  readonly streams: Spare[] = [];
  readonly checkpoints: pb.CheckpointEntry[] = [];
  readonly peers = new Set<string>();
  refuse: { code: status; details: string } | undefined;
  token: string | undefined;
  readonly address = `unix://${join(mkdtempSync(join(tmpdir(), "sidecar-")), "s")}`;
  readonly #server = new Server();

  async start(): Promise<this> {
    const method = (path: string, isStream: boolean, input: DescMessage, output: DescMessage): object => ({
      path: `/kafka_sidecar.v1.LambdaHost/${path}`,
      requestStream: isStream,
      responseStream: isStream,
      requestSerialize: (value: Message) => Buffer.from(toBinary(input, value)),
      requestDeserialize: (data: Buffer) => fromBinary(input, data),
      responseSerialize: (value: Message) => Buffer.from(toBinary(output, value)),
      responseDeserialize: (data: Buffer) => fromBinary(output, data),
    });
    const service = {
      Serve: method("Serve", true, pb.LambdaFrameSchema, pb.HostFrameSchema),
      Checkpoint: method("Checkpoint", false, pb.CheckpointRequestSchema, pb.CheckpointResponseSchema),
      Error: method("Error", false, pb.ErrorRequestSchema, pb.ErrorResponseSchema),
    };
    this.#server.addService(service as never, {
      Serve: (call: Call) => {
        this.#serve(call);
      },
      Checkpoint: (
        call: { request: pb.CheckpointRequest; metadata: Metadata },
        done: (error: null, value: unknown) => void,
      ) => {
        assert.deepEqual(call.metadata.get("authorization"), this.token === undefined ? [] : [`Bearer ${this.token}`]);
        this.checkpoints.push(...call.request.entries);
        const results = call.request.entries.map(() => ({ outcome: pb.CheckpointOutcome.ACCEPTED }));
        done(null, create(pb.CheckpointResponseSchema, { results }));
      },
      Error: (_: unknown, done: (error: null, value: unknown) => void) => {
        done(null, create(pb.ErrorResponseSchema, { outcome: pb.ErrorOutcome.RESTARTING }));
      },
    });
    await new Promise<void>((resolve, reject) => {
      this.#server.bindAsync(this.address, ServerCredentials.createInsecure(), (error) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
    return this;
  }

  stop(): void {
    this.#server.forceShutdown();
  }

  #serve(call: Call): void {
    const spare: Spare = { call, frames: [], peer: call.getPeer() };
    this.streams.push(spare);
    assert.deepEqual(call.metadata.get("authorization"), this.token === undefined ? [] : [`Bearer ${this.token}`]);
    call.on("error", () => undefined);
    call.on("end", () => {
      call.end();
    });
    call.on("data", ({ frame }: pb.LambdaFrame) => {
      spare.frames.push(frame);
      if (frame.case !== "offer") return;
      if (this.refuse !== undefined) call.emit("error", this.refuse);
      else this.say(spare, { case: "welcome", value: { settingsJson: '{"a": 1}', windowMessages: 100, limits: {} } });
      this.say(spare, { case: undefined });
    });
  }

  say({ call }: Spare, frame: NonNullable<MessageInitShape<typeof pb.HostFrameSchema>["frame"]>): void {
    call.write(create(pb.HostFrameSchema, { frame }));
  }

  async spare(index: number): Promise<Spare> {
    await until(() => this.streams[index]?.frames.some((frame) => frame.case === "available") === true);
    return this.streams[index]!;
  }

  async assign(index: number, partition: number): Promise<Spare> {
    const spare = await this.spare(index);
    this.say(spare, {
      case: "assigned",
      value: { lease: `lease-${String(index)}`, topic: "words", partition, startOffset: 0n, attempt: 1 },
    });
    await until(() => cases(spare).includes("ready"));
    return spare;
  }

  async batch(spare: Spare, first: number, ...values: string[]): Promise<void> {
    this.say(spare, {
      case: "batch",
      value: { firstOffset: BigInt(first), values: values.map((value) => Buffer.from(value)) },
    });
    await after(1);
  }
}

function cases(spare: Spare): (string | undefined)[] {
  return spare.frames.map((frame) => frame.case);
}

function closed(spare: Spare): pb.Closed | undefined {
  return spare.frames.flatMap((frame) => (frame.case === "closed" ? [frame.value] : []))[0];
}

function serving(
  host: Host,
  lambda: MessageHandler | IPlugin,
  token?: string,
): { stop: () => Promise<void>; promise: Promise<void> } {
  const ending = new AbortController();
  const promise = serve("words", lambda, {
    address: host.address,
    signal: ending.signal,
    log: silent,
    drainMs: 2000,
    token,
  });
  const stop = async (): Promise<void> => {
    ending.abort();
    await promise;
    host.stop();
  };
  return { stop, promise };
}

test("from Offer to Closed: one spare stream, the next after Assigned, one process", async () => {
  const host = await new Host().start();
  host.token = "secret";
  const { stop } = serving(
    host,
    (message, context) => {
      context.checkpoint(message);
    },
    "secret",
  );
  const first = await host.assign(0, 0);
  assert.deepEqual(cases(first).slice(0, 3), ["offer", "available", "ready"]);
  await host.spare(1);
  await after(50);
  assert.equal(host.streams.length, 2);
  await host.batch(first, 0, "a", "b");
  await until(() => host.checkpoints.some(({ offset, lease }) => offset === 1n && lease === "lease-0"));
  await after(100); // its answer arrives
  const offers = host.streams
    .map(({ frames }) => frames[0])
    .map((frame) => (frame?.case === "offer" ? frame.value : undefined));
  assert.equal(new Set(offers.map((offer) => offer?.processId)).size, 1);
  assert.deepEqual(
    [offers[0]?.lambdaName, offers[0]?.protocolVersion, offers[0]?.maxMessageBytes],
    ["words", 1, 64 * 1024 * 1024],
  );
  await stop();
  assert.equal(closed(first)?.reason, pb.ClosedReason.STOPPED);
  assert.equal(closed(first)?.lastCheckpoint, undefined); // accepted already
});

test("the first Offer refused ends the client; a later one is asked again", async () => {
  const host = await new Host().start();
  host.refuse = { code: status.NOT_FOUND, details: "no lambda words" };
  await assert.rejects(
    serving(host, () => undefined).promise,
    (error) => error instanceof RefusedError && error.code === "NOT_FOUND",
  );
  host.refuse = undefined;
  const { stop } = serving(host, () => undefined);
  const spare = await host.spare(1);
  host.refuse = { code: status.NOT_FOUND, details: "no lambda words" };
  spare.call.emit("error", { code: status.UNAVAILABLE, details: "restart" });
  await until(() => host.streams.length === 3);
  await after(50);
  await stop();
});

test("a plugin that cannot be loaded ends the client", async () => {
  const host = await new Host().start();
  const { promise } = serving(host, {
    create: () => {
      throw new Error("planned");
    },
  });
  await assert.rejects(promise, /planned/);
  host.stop();
});

test("a plugin is loaded once, before Available, with the settings; dispose comes last", async () => {
  const host = await new Host().start();
  const events: string[] = [];
  const { stop } = serving(host, {
    create: async (settings) => {
      events.push(`load ${String(settings.get("a"))}`);
      await after(20);
      assert.deepEqual(cases(host.streams[0]!), ["offer"]);
      return {
        create: () => ({ handler: () => undefined, close: (closeType) => void events.push(`close ${closeType}`) }),
        dispose: () => void events.push("dispose"),
      };
    },
  });
  await host.assign(0, 0);
  await host.assign(1, 1);
  await stop();
  assert.deepEqual(events, ["load 1", "close Stop", "close Stop", "dispose"]);
});

test("after a broken stream the old lambda is closed before the process offers again", async () => {
  const host = await new Host().start();
  const events: string[] = [];
  const { stop } = serving(host, {
    create: () => ({
      create: () => ({
        handler: () => undefined,
        close: async (closeType) => {
          events.push(`close ${closeType}`);
          await after(50);
          events.push(`closed, ${String(host.streams.length)} streams`);
        },
      }),
    }),
  });
  const first = await host.assign(0, 0);
  const spare = await host.spare(1);
  for (const { call } of [first, spare]) call.emit("error", { code: status.UNAVAILABLE, details: "planned" });
  await host.spare(2);
  assert.deepEqual(events, ["close Error", "closed, 2 streams"]);
  await stop();
});

test("the same partition again in this process: Ready after the old lambda has closed", async () => {
  const host = await new Host().start();
  let closedAt = 0;
  const { stop } = serving(host, {
    create: () => ({
      create: () => ({
        handler: () => undefined,
        close: async () => {
          await after(60);
          closedAt ||= performance.now();
        },
      }),
    }),
  });
  const first = await host.assign(0, 7);
  host.say(first, { case: "revoked", value: { reason: pb.RevokeReason.REBALANCE, deadlineMs: 20 } });
  await host.assign(1, 7);
  assert.ok(closedAt > 0 && closed(first) !== undefined);
  await stop();
});

test("an unknown frame is ignored, and a bad one ends the stream", async () => {
  const host = await new Host().start();
  const { stop } = serving(host, () => undefined);
  const first = await host.assign(0, 0);
  await host.batch(first, 5, "a");
  await host.batch(first, 5, "again");
  await until(() => first.call.cancelled);
  await host.spare(1);
  await stop();
});

test("a factory that emits an error ends the client with it", async () => {
  const host = await new Host().start();
  let emit: ((error: unknown) => void) | undefined;
  const { promise } = serving(host, {
    create: () => ({
      create: () => ({ handler: () => undefined }),
      on: (_: string, listener: (error: unknown) => void) => (emit = listener),
    }),
  });
  await host.spare(0);
  emit?.(new Error("planned"));
  await assert.rejects(promise, /planned/);
  host.stop();
});

test("wrong options are refused at once", async () => {
  const signal = new AbortController().signal;
  await assert.rejects(
    serve("words", () => undefined, { address: "nowhere", signal }),
    SettingsError,
  );
  await assert.rejects(serve("words", {} as never, { signal }), /a function \(message, context\)/);
});
