/** The published document router, which also tells the sidecar what is done after the checkpoint. */

import { EventEmitter } from "node:events";
import { DocumentLambdaFactory } from "@fluidframework/server-lambdas-driver";
import type * as core from "@fluidframework/server-services-core";
import type * as sdk from "kafka-sidecar-sdk";
import { Beyond } from "./beyond.js";

type DocumentFactory = core.IPartitionLambdaFactory<core.IPartitionLambdaConfig>;

/**
 * deli leaves the last message of each document with clients unacknowledged, so a quiet document holds the partition's
 * checkpoint back for as long as it is quiet. kafka-service goes on reading without a limit. The sidecar's window would
 * fill up, and what makes the document speak again would never be delivered. So each message that its document has
 * checkpointed is reported as done, and leaves the window.
 */
export class RouterFactory extends EventEmitter implements core.IPartitionLambdaFactory {
  readonly #beyond = new Beyond();
  readonly #router: DocumentLambdaFactory<core.IPartitionLambdaConfig>;

  constructor(
    documents: DocumentFactory,
    configuration: core.IDocumentLambdaServerConfiguration,
    private readonly partition: sdk.IContext,
  ) {
    super();
    this.#watch(documents);
    this.#router = new DocumentLambdaFactory(documents, configuration);
    this.#router.on("error", (error) => this.emit("error", error));
  }

  async create(config: undefined, context: core.IContext): Promise<core.IPartitionLambda> {
    const beyond = this.#beyond;
    const seen: core.IContext = {
      log: context.log,
      checkpoint: (message, restart) => {
        beyond.passed(message.offset);
        this.#tell(); // first: with the new number the old checkpoint is true, but not the other way round
        context.checkpoint(message, restart);
      },
      error: (error, data) => {
        context.error(error, data);
      },
      pause: (offset, reason) => {
        context.pause(offset, reason);
      },
      resume: () => {
        context.resume();
      },
    };
    const lambda = await this.#router.create(config as never, seen);
    return {
      handler: (message) => {
        const bytes = sizeOf(message);
        const promise = lambda.handler(message);
        beyond.delivered(message.offset, bytes, documentOf(message.value));
        return promise;
      },
      close: (closeType) => {
        lambda.close(closeType);
      },
      pause: (offset) => {
        beyond.clear(); // the router forgets what waits, and gets it again
        this.#tell();
        lambda.pause?.(offset);
      },
      resume: () => lambda.resume?.(),
    };
  }

  async dispose(): Promise<void> {
    await this.#router.dispose();
  }

  #tell(): void {
    this.partition.completedBeyond(this.#beyond.count, this.#beyond.bytes);
  }

  /** Each document's context tells of its checkpoints; the router itself uses it for corrupt documents. */
  #watch(documents: DocumentFactory): void {
    const create = documents.create.bind(documents);
    documents.create = (config, context, updateActivityTime) => {
      const checkpoint = context.checkpoint.bind(context);
      context.checkpoint = (message, restart) => {
        this.#beyond.done(keyOf(config.tenantId, config.documentId), message.offset);
        checkpoint(message, restart); // the router may move the partition's checkpoint, and tell
        this.#tell();
      };
      return create(config, context, updateActivityTime);
    };
  }
}

function sizeOf(message: core.IQueuedMessage): number {
  const { value, key } = message as sdk.Message;
  return (value?.length ?? 0) + (key?.length ?? 0);
}

/** The router puts the parsed boxcar in the place of the value when it has passed the message to a document. */
function documentOf(value: unknown): string | undefined {
  if (value === null || typeof value !== "object" || Buffer.isBuffer(value)) return undefined;
  const { tenantId, documentId } = value as core.IBoxcarMessage;
  return keyOf(tenantId, documentId);
}

function keyOf(tenantId: string | undefined, documentId: string | undefined): string {
  return `${String(tenantId)}/${String(documentId)}`; // the router's own key
}
