/** The producer that published lambdas expect, over `context.produce`. */

import { EventEmitter } from "node:events";
import { NetworkError } from "@fluidframework/server-services-client";
import {
  BoxcarType,
  MaxKafkaMessageSize,
  type IProducer,
  type ITicketedMessage,
} from "@fluidframework/server-services-core";
import type { IContext } from "kafka-sidecar-sdk";

/**
 * One `send` is one record: a boxcar, with the document as key, as kafka-service's own producer writes it.
 *
 * The record goes to the partition that the lambda reads. kafka-service's producer hashes the key with CRC-32, the
 * sidecar as the Java client does: by key, what deli sends back to its own topic would reach the deli of another
 * partition, and a document would have two sequencers. All topics of the service have the same number of partitions, so
 * the partition is the one that its producer would choose.
 */
export class Producer extends EventEmitter implements IProducer {
  constructor(
    private readonly context: IContext,
    private readonly topic: string,
  ) {
    super();
  }

  isConnected(): boolean {
    return true; // the sidecar is connected, or the lambda ends
  }

  async send(messages: ITicketedMessage[], tenantId: string, documentId: string, partitionId?: number): Promise<void> {
    // Now, not later: the lambda may change its messages after this call.
    const boxcar = JSON.stringify({ contents: messages, documentId, tenantId, type: BoxcarType });
    const size = Buffer.byteLength(boxcar);
    if (size > MaxKafkaMessageSize) {
      throw new NetworkError(413, `a boxcar of ${String(size)} bytes exceeds ${String(MaxKafkaMessageSize)}`);
    }
    const partition = partitionId ?? this.context.partition;
    await this.context.produce(this.topic, boxcar, { key: documentId, partition });
  }

  async close(): Promise<void> {
    // Nothing to close: the sidecar owns the connection to Kafka.
  }
}
