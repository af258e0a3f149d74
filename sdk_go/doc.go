// Package sidecar serves a lambda: code that handles the records of Kafka partitions, in order. The sidecar consumes,
// commits and rebalances; this process dials it and gets records, one stream for each partition.
//
//	type words struct {
//		*sidecar.Partition
//		count int
//	}
//
//	func (w *words) Handle(ctx context.Context, record sidecar.Record) error {
//		w.count += len(bytes.Fields(record.Value))
//		w.Checkpoint(record.Offset)
//		return nil
//	}
//
//	func main() {
//		sidecar.Main("words", sidecar.FactoryFunc(
//			func(ctx context.Context, partition *sidecar.Partition) (sidecar.Lambda, error) {
//				return &words{Partition: partition}, nil
//			}))
//	}
//
// A record is done when the lambda says so by [Partition.Checkpoint], not when Handle returns. After a restart, every
// record after the last checkpoint is delivered again.
//
// # Errors
//
// An error that Handle returns is critical: the record fails whoever tries, and the lambda's on_critical policy in the
// sidecar's config decides. Wrapped by [Restart] it is recoverable: the partition gets a new lambda after a back-off.
// A panic is critical. While a dependency is down, use [Partition.Pause].
//
// # Exactly-once
//
// With `guarantee: exactly-once` in the sidecar's config the same code does more: what it produces becomes visible together
// with the first checkpoint made after it, or never. Produce, and then Checkpoint.
//
// # Goroutines
//
// Create, Handle and Close of one lambda are called by one goroutine, one after the other. Partitions run beside each
// other. All methods of [Partition] may be called in any goroutine, and none of them but
// [Partition.Committed] waits for the network.
package sidecar
