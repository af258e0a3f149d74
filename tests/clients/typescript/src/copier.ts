/**
 * The lambda of the exactly-once runs: it copies records. Its settings, copies and states are those of
 * tests/integration/sdk_copier.py.
 */

import { serve, type IContext, type IPartitionLambda, type Message } from "kafka-sidecar-sdk";

/** The lambda of one partition, which goes on with the count of the one before it. */
class Copier implements IPartitionLambda {
  #count: number;

  constructor(
    private readonly out: string,
    private readonly awaited: boolean,
    private readonly context: IContext,
  ) {
    this.#count = Number(String(context.state) || "0");
  }

  handler(message: Message): Promise<void> | undefined {
    this.#count += 1;
    const { partition, lane } = this.context;
    const count = String(this.#count);
    const value = `${String(partition)}:${String(message.offset)}:${String(lane)}:${count}`;
    const held = this.context.produce(this.out, value, { key: message.key, partition });
    if (this.awaited) {
      return held.then(() => {
        this.context.checkpoint(message, count);
      });
    }
    this.context.checkpoint(message, count);
    return undefined;
  }

  close(): void {
    // Nothing is held here.
  }
}

await serve(process.argv[2] ?? "copier", {
  create: (settings) => ({
    create: (_, context) => new Copier(String(settings.get("out")), settings.get("how") === "awaited", context),
    dispose: () => undefined,
  }),
});
