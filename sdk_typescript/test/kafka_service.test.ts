/** The published interfaces of kafka-service and those here fit each other: this file compiles. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type * as seed from "@fluidframework/server-services-core";
import {
  LambdaCloseType,
  serve,
  type IContext,
  type ILogger,
  type IPartitionLambda,
  type IPartitionLambdaFactory,
  type IPlugin,
  type IQueuedMessage,
  type Message,
} from "../src/index.js";
import { FakeSidecar } from "../src/testing.js";

type Fits<Given extends Wanted, Wanted> = Given;

// What a lambda of kafka-service brings fits what the SDK takes.
export type Brought = [
  Fits<seed.IPartitionLambda, IPartitionLambda>,
  Fits<seed.IPartitionLambdaFactory, IPartitionLambdaFactory>,
  Fits<seed.IPartitionLambdaPlugin, IPlugin>,
];
// What the SDK hands to it fits what it takes.
export type Handed = [
  Fits<IContext, seed.IContext>,
  Fits<Message, seed.IQueuedMessage>,
  Fits<IQueuedMessage, seed.IQueuedMessage>,
  Fits<ILogger, seed.ILogger>,
  Fits<LambdaCloseType, seed.LambdaCloseType>,
];

/** A lambda as it is written for kafka-service, to the letter. */
class Lambda implements seed.IPartitionLambda {
  last: seed.IQueuedMessage | undefined;
  closed: seed.LambdaCloseType | undefined;

  constructor(private readonly context: seed.IContext) {}

  handler(message: seed.IQueuedMessage): undefined {
    this.last = message;
    this.context.checkpoint(message, true);
  }

  close(closeType: seed.LambdaCloseType): void {
    this.closed = closeType;
  }
}

test("a lambda of kafka-service runs", async () => {
  let lambda: Lambda | undefined;
  const sidecar = await FakeSidecar.start({
    create: () => ({ create: (_, context) => (lambda = new Lambda(context)) }),
  });
  await sidecar.feed("a");
  await sidecar.stop();
  assert.deepEqual([String(lambda?.last?.value), sidecar.checkpoint], ["a", 0]);
  assert.equal(lambda?.closed, LambdaCloseType.Stop);
  assert.equal(typeof serve, "function");
});
