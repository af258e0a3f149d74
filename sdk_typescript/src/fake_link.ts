/** The stream of a `FakeSidecar`. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { Link } from "./connection.js";
import * as pb from "./protocol/lambda_pb.js";

/** A stream without a network: both sides are called at once. @internal */
export class FakeLink implements Link {
  onFrame: Link["onFrame"] = () => undefined;
  onEnd: Link["onEnd"] = () => undefined;
  #isOver = false;

  constructor(private readonly onWritten: (frame: pb.LambdaFrame) => void) {}

  send(frame: NonNullable<MessageInitShape<typeof pb.HostFrameSchema>["frame"]>): void {
    if (!this.#isOver) this.onFrame(create(pb.HostFrameSchema, { frame }));
  }

  end(error?: Error): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.onEnd(error);
  }

  write(frame: pb.LambdaFrame): void {
    if (!this.#isOver) this.onWritten(frame);
  }

  halfClose(): void {
    this.end();
  }

  cancel(): void {
    this.end();
  }

  read(): void {
    // Nothing waits here to be read.
  }
}
