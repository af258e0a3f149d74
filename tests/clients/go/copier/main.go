// The lambda of the exactly-once runs in Go: it copies records. Settings, copies and states are those of
// tests/integration/sdk_copier.py. Its only argument is the lambda's name.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	sidecar "kafka-sidecar.example/sdk_go"
)

// settings of the lambda.
type settings struct {
	Out string `json:"out"` // the topic of the copies
	How string `json:"how"` // plain, or awaited
}

type factory struct {
	settings settings
}

// Load reads the settings.
func (f *factory) Load(_ context.Context, given sidecar.Settings) error {
	return given.Decode(&f.settings)
}

// Create makes the lambda of a partition, which goes on with the count of the one before it.
func (f *factory) Create(_ context.Context, partition *sidecar.Partition) (sidecar.Lambda, error) {
	made := &copier{Partition: partition, settings: f.settings}
	if state := partition.State(); len(state) > 0 {
		var err error
		if made.count, err = strconv.Atoi(string(state)); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// Dispose has nothing to do.
func (f *factory) Dispose(context.Context) error { return nil }

type copier struct {
	*sidecar.Partition
	settings settings
	count    int
}

// Handle copies a record.
func (c *copier) Handle(ctx context.Context, record sidecar.Record) error {
	c.count++
	number := c.Number()
	value := fmt.Sprintf("%d:%d:%d:%d", number, record.Offset, c.Lane(), c.count)
	output := sidecar.Output{Topic: c.settings.Out, Key: record.Key, Value: []byte(value), Partition: &number}
	delivery := c.Produce(output)
	if c.settings.How == "awaited" {
		if _, err := delivery.Wait(ctx); err != nil {
			return sidecar.Restart(err)
		}
	}
	return c.CheckpointState(record.Offset, []byte(strconv.Itoa(c.count)))
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: copier LAMBDA")
		os.Exit(2)
	}
	sidecar.Main(os.Args[1], &factory{})
}
