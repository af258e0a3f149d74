/** Lambdas of kafka-service, as they are published, behind the SDK. */

import type * as core from "@fluidframework/server-services-core";
import type * as sdk from "kafka-sidecar-sdk";

/** A service whose lambdas run here. */
export interface Service {
  /** The factory for one partition. One for each, since its producers write through the partition's context. */
  factory(context: sdk.IContext): core.IPartitionLambdaFactory;
  /** Closes what all partitions share. */
  close(): Promise<void>;
}

/** A plugin for `serve`. `open` is called once in a process. */
export function hosted(open: (settings: sdk.ISettings) => Promise<Service>): sdk.IPlugin {
  return {
    create: async (settings) => {
      const service = await open(settings);
      return {
        create: (_, context) => HostedLambda.create(service, context),
        dispose: () => service.close(),
      };
    },
  };
}

/** One partition's lambda: passes on messages, and what is called with them. */
class HostedLambda implements sdk.IPartitionLambda {
  private constructor(
    private readonly lambda: core.IPartitionLambda,
    private readonly context: HostedContext,
    private readonly factory: core.IPartitionLambdaFactory,
  ) {
    factory.on("error", this.#onError);
  }

  static async create(service: Service, partition: sdk.IContext): Promise<HostedLambda> {
    const context = new HostedContext(partition);
    const factory = service.factory(partition);
    return new HostedLambda(await factory.create(undefined, context), context, factory);
  }

  handler(message: core.IQueuedMessage): Promise<void> | undefined {
    this.context.delivered = message.offset;
    message.value ??= Buffer.alloc(0); // a tombstone: published code parses the value, and fails with null
    return this.lambda.handler(message);
  }

  close(closeType: sdk.LambdaCloseType): void {
    this.factory.off("error", this.#onError);
    this.lambda.close(closeType as string as core.LambdaCloseType);
  }

  pause(offset: number): void {
    this.lambda.pause?.(offset);
  }

  resume(): void {
    this.lambda.resume?.();
  }

  /** In kafka-service an error of a factory ends the process; here each partition of it gets a new lambda. */
  readonly #onError = (error: unknown): void => {
    this.context.error(error, { restart: true });
  };
}

/** What published lambdas get as their context. It differs from the SDK's where kafka-service's does. */
class HostedContext implements core.IContext {
  /** The offset of the last message that the lambda got. */
  delivered = -1;
  #done = -1;

  constructor(private readonly partition: sdk.IContext) {}

  get log(): core.ILogger {
    return this.partition.log;
  }

  checkpoint(message: core.IQueuedMessage): void {
    this.#done = Math.max(this.#done, message.offset);
    this.partition.checkpoint(message);
  }

  /**
   * Without `restart` kafka-service only logs the error, and its document router goes on: it calls this for a document
   * that it marks as corrupt. So it is a report here: operators see it, and the other documents continue.
   */
  error(error: unknown, errorData: core.IContextErrorData): void {
    if (errorData.restart) this.partition.error(error, { restart: true });
    else this.partition.report(error, errorData.markAsCorrupt?.offset);
  }

  /**
   * kafka-service seeks to any offset. Here a pause can ask only for what was delivered and is not checkpointed. The
   * document router asks for less than that when its documents are done; then nothing needs to come again.
   */
  pause(offset: number, reason?: unknown): void {
    const first = Math.max(offset, this.#done + 1);
    this.partition.pause(first <= this.delivered ? first : undefined, reason);
  }

  resume(): void {
    this.partition.resume();
  }
}
