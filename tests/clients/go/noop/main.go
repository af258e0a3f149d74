// A lambda that counts, and checkpoints each record: what a benchmark measures the sidecar with. Its only argument is the
// lambda's name.
package main

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"

	sidecar "kafka-sidecar.example/sdk_go"
)

type counter struct {
	total atomic.Int64
}

// Create makes a lambda.
func (c *counter) Create(_ context.Context, partition *sidecar.Partition) (sidecar.Lambda, error) {
	return &noop{Partition: partition, total: &c.total}, nil
}

// Dispose says how many records came.
func (c *counter) Dispose(context.Context) error {
	fmt.Println(c.total.Load(), "records")
	return nil
}

type noop struct {
	*sidecar.Partition
	total *atomic.Int64
}

// Handle counts.
func (n *noop) Handle(_ context.Context, record sidecar.Record) error {
	n.total.Add(1)
	n.Checkpoint(record.Offset)
	return nil
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: noop LAMBDA")
		os.Exit(2)
	}
	sidecar.Main(os.Args[1], &counter{})
}
