/** Channels to the sidecar, with the streams and calls on them. All code that makes gRPC calls is here. */

import { fromBinary, toBinary, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { Client, Metadata, status, type ChannelOptions, type ClientDuplexStream } from "@grpc/grpc-js";
import type { Endpoint } from "./endpoint.js";
import { FrameError, LinkError, messageOf, RefusedError, TooLargeError } from "./errors.js";
import * as pb from "./protocol/lambda_pb.js";

/** The largest message that this client takes. The Offer says so, and the sidecar sends no larger one. @internal */
export const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

const CALL_TIMEOUT_MS = 10_000;
const PRODUCE_TIMEOUT_MS = 90_000; // the sidecar gives up on Kafka after 60 s, and says so
const STREAMS_PER_CHANNEL = 64; // servers and proxies limit the streams of a connection, often to 100
const SERVICE = "/kafka_sidecar.v1.LambdaHost/";

const OPTIONS: ChannelOptions = {
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
  // Channels with equal options share a connection unless each has a pool of its own.
  "grpc.use_local_subchannel_pool": 1,
  // Node's 64 KiB would cost a window update for each 32: a fifth of the CPU time of a million records. What waits here
  // is bounded by the sidecar's window.
  "grpc-node.flow_control_window": 4 * 1024 * 1024,
  "grpc.keepalive_time_ms": 5000,
  "grpc.keepalive_timeout_ms": 5000,
  "grpc.keepalive_permit_without_calls": 1,
  // Our own back-off decides: a channel must not wait for gRPC's, which grows to two minutes.
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1000,
  // The sidecar is nearby; http_proxy in the environment is meant for other calls.
  "grpc.enable_http_proxy": 0,
};

const REFUSALS = new Set([
  status.INVALID_ARGUMENT,
  status.NOT_FOUND,
  status.FAILED_PRECONDITION,
  status.UNAUTHENTICATED,
  status.PERMISSION_DENIED,
  status.UNIMPLEMENTED,
]);

/** The calls that a lease makes beside its stream: of a `Connection`, or of a `FakeSidecar`. @internal */
export interface Calls {
  error(request: pb.ErrorRequest): Promise<pb.ErrorResponse>;
  /** Rejects with `TooLargeError` when the request is larger than the sidecar, or something in between, takes. */
  produce(request: pb.ProduceRequest): Promise<pb.ProduceResponse>;
}

/** One Serve stream: of a `Connection`, or of a `FakeSidecar`. @internal */
export interface Link {
  /** Called with each frame. It may be replaced at any time; an error that it throws ends the stream. */
  onFrame: (frame: pb.HostFrame) => void;
  /** Called once, when the stream is over: without an error when the sidecar ended it in order. */
  onEnd: (error?: Error) => void;
  write(frame: pb.LambdaFrame): void;
  /** Says that nothing more will be sent. */
  halfClose(): void;
  /** Ends the stream now, whatever its state. */
  cancel(): void;
  /** Stops and goes on reading. */
  read(reading: boolean): void;
}

class Stream implements Link {
  onFrame: Link["onFrame"] = () => undefined;
  onEnd: Link["onEnd"] = () => undefined;
  #over = false;

  constructor(
    private readonly call: ClientDuplexStream<pb.LambdaFrame, Buffer>,
    private readonly release: () => void,
  ) {
    call.on("data", (data: Buffer) => {
      this.#received(data);
    });
    call.on("error", () => undefined); // "status" says the same
    call.on("status", ({ code, details }) => {
      this.#end(code === status.OK ? undefined : translated(code, details));
    });
  }

  write(frame: pb.LambdaFrame): void {
    if (!this.#over) this.call.write(frame);
  }

  halfClose(): void {
    if (!this.#over) this.call.end();
  }

  cancel(): void {
    if (!this.#over) this.call.cancel();
  }

  read(reading: boolean): void {
    if (reading) this.call.resume();
    else this.call.pause();
  }

  #received(data: Buffer): void {
    if (this.#over) return;
    try {
      this.onFrame(fromBinary(pb.HostFrameSchema, data));
    } catch (error) {
      const frameError = error instanceof FrameError ? error : new FrameError(`HostFrame: ${messageOf(error)}`);
      this.cancel();
      this.#end(frameError);
    }
  }

  #end(error?: Error): void {
    if (this.#over) return;
    this.#over = true;
    this.release();
    this.onEnd(error);
  }
}

/** All channels to one sidecar. @internal */
export class Connection implements Calls {
  readonly #streaming = new Map<Client, number>();
  readonly #calls: Client;
  readonly #metadata = new Metadata();

  constructor(private readonly endpoint: Endpoint) {
    if (endpoint.token !== undefined) this.#metadata.set("authorization", `Bearer ${endpoint.token}`);
    this.#calls = this.#channel(); // a connection of their own: no checkpoint waits for records
  }

  /** Opens a Serve stream on the first channel with room. */
  open(): Link {
    let client = [...this.#streaming].find(([, used]) => used < STREAMS_PER_CHANNEL)?.[0];
    client ??= this.#channel();
    const chosen = client;
    this.#add(chosen, 1);
    const call = chosen.makeBidiStreamRequest<pb.LambdaFrame, Buffer>(
      `${SERVICE}Serve`,
      (frame) => encoded(pb.LambdaFrameSchema, frame),
      (data) => data, // parsed by `Stream`, which can tell a bad frame from a broken stream
      this.#metadata,
    );
    return new Stream(call, () => {
      this.#add(chosen, -1);
    });
  }

  checkpoint(request: pb.CheckpointRequest): Promise<pb.CheckpointResponse> {
    return this.#call("Checkpoint", pb.CheckpointRequestSchema, pb.CheckpointResponseSchema, request, CALL_TIMEOUT_MS);
  }

  error(request: pb.ErrorRequest): Promise<pb.ErrorResponse> {
    return this.#call("Error", pb.ErrorRequestSchema, pb.ErrorResponseSchema, request, CALL_TIMEOUT_MS);
  }

  async produce(request: pb.ProduceRequest): Promise<pb.ProduceResponse> {
    try {
      const { ProduceRequestSchema, ProduceResponseSchema } = pb;
      return await this.#call("Produce", ProduceRequestSchema, ProduceResponseSchema, request, PRODUCE_TIMEOUT_MS);
    } catch (error) {
      const isTooLarge = error instanceof LinkError && error.code === "RESOURCE_EXHAUSTED";
      throw isTooLarge ? new TooLargeError(`larger than a call may be: ${error.details}`) : error;
    }
  }

  /** Closes all channels. */
  close(): void {
    for (const client of [...this.#streaming.keys(), this.#calls]) client.close();
  }

  #channel(): Client {
    const { target, credentials, serverName } = this.endpoint;
    const named = serverName === undefined ? {} : { "grpc.ssl_target_name_override": serverName };
    return new Client(target, credentials, { ...OPTIONS, ...named });
  }

  #add(client: Client, count: number): void {
    this.#streaming.set(client, (this.#streaming.get(client) ?? 0) + count);
  }

  #call<Request extends DescMessage, Response extends DescMessage>(
    method: string,
    request: Request,
    response: Response,
    message: MessageShape<Request>,
    timeoutMs: number,
  ): Promise<MessageShape<Response>> {
    return new Promise((resolve, reject) => {
      this.#calls.makeUnaryRequest<MessageShape<Request>, MessageShape<Response>>(
        SERVICE + method,
        (value) => encoded(request, value),
        (data) => fromBinary(response, data),
        message,
        this.#metadata,
        { deadline: Date.now() + timeoutMs },
        (error, answer) => {
          if (error !== null) reject(translated(error.code, error.details));
          else if (answer === undefined) reject(new LinkError(`${method}: no answer`));
          else resolve(answer);
        },
      );
    });
  }
}

function encoded<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): Buffer {
  const bytes = toBinary(schema, message);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Decides by the status alone whether asking again may help. */
function translated(code: status, details: string): Error {
  const text = details || "no reason given";
  const name = status[code];
  if (REFUSALS.has(code)) return new RefusedError(name, text);
  return new LinkError(`${name}: ${text}`, details, name);
}
