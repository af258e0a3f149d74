package sidecar_test

import (
	"context"
	"errors"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	sidecar "kafka-sidecar.example/sdk_go"
)

// A lambda without a state of its own is one function.
func ExampleHandlerFunc() {
	save := func(context.Context, []byte) error { return nil }

	sidecar.Main("archive", sidecar.HandlerFunc(
		func(ctx context.Context, partition *sidecar.Partition, record sidecar.Record) error {
			if err := save(ctx, record.Value); err != nil {
				return sidecar.Restart(err)
			}
			partition.Checkpoint(record.Offset)
			return nil
		}))
}

// Serve is for a program that does more than to serve one lambda.
func ExampleServe() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := sidecar.Serve(ctx, "archive", sidecar.FactoryFunc(newArchive),
		sidecar.WithAddress("unix:///run/kafka-sidecar.sock"), sidecar.WithMaxPartitions(8))
	if err != nil {
		log.Fatal(err)
	}
}

// A record is copied to another topic. To wait for each by itself is slow: keep the deliveries, wait for them later, and
// checkpoint in order.
func ExamplePartition_Produce() {
	_ = sidecar.HandlerFunc(func(ctx context.Context, partition *sidecar.Partition, record sidecar.Record) error {
		delivery := partition.Produce(sidecar.Output{Topic: "copies", Key: record.Key, Value: record.Value})
		if _, err := delivery.Wait(ctx); err != nil {
			return sidecar.Restart(err)
		}
		partition.Checkpoint(record.Offset)
		return nil
	})
}

// A circuit breaker: after 5 seconds the record that failed is delivered again, as a trial.
func ExamplePartition_PauseFrom() {
	errDown := errors.New("the database is down")
	save := func(context.Context, []byte) error { return errDown }

	_ = sidecar.HandlerFunc(func(ctx context.Context, partition *sidecar.Partition, record sidecar.Record) error {
		err := save(ctx, record.Value)
		if errors.Is(err, errDown) {
			return partition.PauseFrom(record.Offset, err.Error(), 5*time.Second)
		} else if err != nil {
			return err
		}
		partition.Checkpoint(record.Offset)
		return nil
	})
}

// archive is a lambda that writes its partition to a file.
type archive struct {
	*sidecar.Partition
	file *os.File
}

func newArchive(_ context.Context, partition *sidecar.Partition) (sidecar.Lambda, error) {
	file, err := os.CreateTemp("", partition.Topic())
	return &archive{partition, file}, err
}

func (a *archive) Handle(_ context.Context, record sidecar.Record) error {
	if _, err := a.file.Write(append(record.Value, '\n')); err != nil {
		return err
	}
	a.Checkpoint(record.Offset)
	return nil
}

func (a *archive) Close(context.Context, sidecar.CloseReason) error { return a.file.Close() }
