package sidecartest_test

import (
	"context"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	sidecar "kafka-sidecar.example/sdk_go"
	"kafka-sidecar.example/sdk_go/sidecartest"
)

// counter counts its records in its state, and tells each count. What a value asks for comes after that.
type counter struct {
	*sidecar.Partition
	count     uint64
	committed chan error
}

func (c *counter) Handle(ctx context.Context, record sidecar.Record) error {
	c.count++
	c.Produce(sidecar.Output{Topic: "counts", Value: binary.AppendUvarint(nil, c.count)})
	c.Progress(string(record.Value))
	switch string(record.Value) {
	case "keep":
		return nil
	case "tell":
		go func() { c.committed <- c.Committed(ctx, record.Offset) }()
	case "forget":
		return c.CheckpointState(record.Offset, []byte{})
	}
	return c.CheckpointState(record.Offset, binary.AppendUvarint(nil, c.count))
}

func counting(t *testing.T, options ...sidecartest.Option) (*sidecartest.Fake, chan error) {
	committed := make(chan error, 1)
	return sidecartest.Start(t, sidecar.FactoryFunc(func(_ context.Context, partition *sidecar.Partition) (sidecar.Lambda, error) {
		count, _ := binary.Uvarint(partition.State())
		return &counter{partition, count, committed}, nil
	}), options...), committed
}

func counts(outputs []sidecar.Output) (all []byte) {
	for _, output := range outputs {
		all = append(all, output.Value...)
	}
	return all
}

func TestAStateOutlivesItsLambda(t *testing.T) {
	fake, _ := counting(t, sidecartest.State([]byte{7}), sidecartest.Lane(3, 4))
	fake.Feed("a")
	fake.Rebalance()
	fake.Feed("b")
	if got := fake.State(); !slices.Equal(got, []byte{9}) {
		t.Errorf("state %v", got)
	}
	fake.Feed("forget")
	if got := fake.State(); got != nil {
		t.Errorf("state %v", got)
	}
	fake.AwaitProgress("forget")
}

func TestACommitIsToldWhenTheTestSaysSo(t *testing.T) {
	fake, committed := counting(t, sidecartest.HoldCommits())
	fake.Feed("tell")
	select {
	case err := <-committed:
		t.Fatalf("committed: %v", err)
	case <-time.After(10 * time.Millisecond):
	}
	fake.Commit()
	if err := <-committed; err != nil {
		t.Error(err)
	}
}

func TestEachCheckpointIsCommitted(t *testing.T) {
	fake, committed := counting(t)
	fake.Feed("tell")
	if err := <-committed; err != nil {
		t.Error(err)
	}
}

func TestOutputsAreVisibleWithTheirCheckpoint(t *testing.T) {
	fake, _ := counting(t, sidecartest.ExactlyOnce())
	fake.Feed("keep", "keep")
	if len(fake.Sent()) != 0 || !slices.Equal(counts(fake.Held()), []byte{1, 2}) {
		t.Errorf("sent %v, held %v", fake.Sent(), fake.Held())
	}
	fake.Feed("go")
	if got := counts(fake.Sent()); !slices.Equal(got, []byte{1, 2, 3}) || len(fake.Held()) != 0 {
		t.Errorf("sent %v, held %v", got, fake.Held())
	}
	fake.Feed("keep")
	fake.Abort()
	if fake.Running() || len(fake.Held()) != 0 {
		t.Errorf("running %t, held %v", fake.Running(), fake.Held())
	}
	fake.Assign() // the record comes again
	fake.Feed("go")
	if got := counts(fake.Sent()); !slices.Equal(got, []byte{1, 2, 3, 4, 5}) {
		t.Errorf("sent %v", got)
	}
}

func TestARecordWaitsForItsSource(t *testing.T) {
	fake := sidecartest.Start(t, sidecar.HandlerFunc(func(_ context.Context, partition *sidecar.Partition, record sidecar.Record) error {
		partition.Produce(sidecar.Output{Topic: "out", Value: record.Value, Source: new(record.Offset)})
		partition.Checkpoint(record.Offset - 1)
		return nil
	}), sidecartest.ExactlyOnce())
	fake.Feed("a", "b", "c")
	if sent, held := fake.Sent(), fake.Held(); len(sent) != 2 || len(held) != 1 || *held[0].Source != 2 {
		t.Errorf("sent %v, held %v", sent, held)
	}
}
