// Package sidecartest runs a lambda in a unit test: no Kafka, no gRPC, no ports.
//
//	fake := sidecartest.Start(t, factory, sidecartest.Settings(map[string]any{"collection": "words"}))
//	fake.Feed("one", "two")
//	if got, _ := fake.Checkpoint(); got != 1 { ... }
//	fake.Rebalance() // closes the lambda, and makes a new one after the checkpoint
//
// It plays a sidecar with one partition. The code that calls the lambda is that of a real process, from the settings to
// the last checkpoint; only the sidecar is played. A paused lambda stays paused, whatever its time, until it or the test
// resumes it.
package sidecartest

import (
	"context"
	"io"
	"log/slog"
	"math"
	"testing"
	"time"

	sidecar "kafka-sidecar.example/sdk_go"
	"kafka-sidecar.example/sdk_go/internal/played"
	pb "kafka-sidecar.example/sdk_go/protocol"
)

// wait bounds everything that a test waits for.
const wait = 10 * time.Second

// Error is what the lambda told by Fail, by Report, or by an error that it returned.
type Error struct {
	Action  Action
	Offset  *int64 // nil: about no record
	Code    string
	Message string
	Type    string
	Stack   string
}

// Action is what the sidecar would do about an [Error].
type Action string

const (
	// Restart: the partition would get a new lambda after a back-off. A test calls [Fake.Restart].
	Restart Action = "restart"
	// Critical: the lambda's on_critical policy would decide.
	Critical Action = "critical"
	// Report: nothing stops.
	Report Action = "report"
)

// Fake is a sidecar with one partition. Its methods belong to the test's goroutine.
type Fake struct {
	t      testing.TB
	remote *played.Sidecar
	stop   context.CancelFunc
	served chan error
	config config
	state  state
}

type config struct {
	settings  string
	topic     string
	partition int32
	lane      uint32
	lanes     uint32
	start     int64
	state     []byte
	guarantee pb.Guarantee
	byHand    bool // commits come by Commit alone
	options   []sidecar.Option
}

// Start serves a lambda, and returns when it has the partition. It ends with the test.
func Start(t testing.TB, factory sidecar.Factory, options ...Option) *Fake {
	t.Helper()
	f := &Fake{t: t, remote: played.New(), served: make(chan error, 1), config: config{settings: "{}", topic: "test"}}
	for _, option := range options {
		option(t, &f.config)
	}
	f.state.checkpoint = f.config.start - 1
	f.state.position = f.config.start
	f.state.kept = f.config.state
	f.state.committed = f.config.start - 1
	f.remote.OnFrame = f.onFrame
	f.remote.OnCheckpoint, f.remote.OnError, f.remote.OnProduce = f.onCheckpoint, f.onError, f.onProduce
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	given := append([]sidecar.Option{
		sidecar.WithLogger(slog.New(slog.NewTextHandler(t.Output(), nil))),
	}, f.config.options...)
	go func() {
		err := sidecar.Serve(ctx, "test", factory, append(given, sidecar.WithSidecar(f.remote))...)
		f.remote.Changed(func() { f.state.served = true })
		f.served <- err
	}()
	t.Cleanup(func() { _ = f.Stop() }) // a test that wants to know stops it itself
	f.Assign()
	return f
}

// Feed appends records with these values to the partition, and returns when the lambda has handled them, paused or
// ended, and its checkpoints have come. While there is no lambda, or a pause, the records wait.
func (f *Fake) Feed(values ...string) {
	f.t.Helper()
	records := make([]sidecar.Record, len(values))
	for i, value := range values {
		records[i].Value = []byte(value)
	}
	f.FeedRecords(records...)
}

// FeedRecords is Feed with keys, headers and timestamps. It sets the records' topic and partition; it sets an offset that
// does not come after the one before it.
func (f *Fake) FeedRecords(records ...sidecar.Record) {
	f.t.Helper()
	f.remote.Changed(func() {
		for _, record := range records {
			next := f.config.start
			if n := len(f.state.log); n > 0 {
				next = f.state.log[n-1].Offset + 1
			}
			record.Topic, record.Partition, record.Offset = f.config.topic, f.config.partition, max(next, record.Offset)
			f.state.log = append(f.state.log, record)
		}
	})
	f.deliver()
	f.Settle()
}

// Settle waits until nothing is going on: all handlers have returned, all checkpoints and outcomes are known. Goroutines
// of the lambda itself are not waited for: see [Fake.AwaitCheckpoint].
func (f *Fake) Settle() {
	f.t.Helper()
	f.await("the lambda does not come to rest", f.remote.Settled)
}

// AwaitCheckpoint waits until the checkpoint is at this offset, or after it.
func (f *Fake) AwaitCheckpoint(offset int64) {
	f.t.Helper()
	f.await("the checkpoint does not come", func() bool { return f.state.checkpoint >= offset })
}

// AwaitPause waits until the lambda has paused, such as in a goroutine of its own; it returns the reason.
func (f *Fake) AwaitPause() string {
	f.t.Helper()
	f.await("the lambda does not pause", func() bool { return f.state.pause != nil })
	reason, _ := f.Paused()
	return reason
}

// AwaitProgress waits until this text is the lambda's latest sign of life. The second one comes a second after the first.
func (f *Fake) AwaitProgress(text string) {
	f.t.Helper()
	f.await("the sign of life does not come", func() bool { return f.state.progress == text })
}

// AwaitEnd waits until the lambda has ended and is closed.
func (f *Fake) AwaitEnd() {
	f.t.Helper()
	f.await("the lambda does not end", func() bool { return f.state.lease == "" && f.remote.Settled() })
}

func (f *Fake) await(what string, done func() bool) {
	f.t.Helper()
	if !f.remote.Await(wait, func() bool { return f.state.served || done() }) {
		f.t.Fatalf("%s within %s", what, wait)
	}
}

// Assign makes a lambda, and feeds it the records after the checkpoint.
func (f *Fake) Assign() {
	f.t.Helper()
	f.await("there is no spare stream", func() bool { return f.state.spare != nil && f.state.lease == "" })
	f.assign()
	f.Settle()
}

// Restart makes a new lambda, as after an error or a crash. A running one loses its stream.
func (f *Fake) Restart() {
	f.t.Helper()
	f.breakOff()
	f.Settle()
	f.Assign()
}

// Rebalance takes the partition away and makes a new lambda.
func (f *Fake) Rebalance() {
	f.t.Helper()
	f.Revoke(2 * time.Second)
	f.remote.Changed(func() { f.state.attempt = 0 })
	f.Assign()
}

// Revoke takes the partition away, as when Kafka gives it to another process.
func (f *Fake) Revoke(deadline time.Duration) {
	f.t.Helper()
	f.say(&pb.HostFrame{Frame: &pb.HostFrame_Revoked{Revoked: &pb.Revoked{
		Reason:     pb.RevokeReason_REVOKE_REASON_REBALANCE,
		DeadlineMs: uint32(min(deadline.Milliseconds(), math.MaxUint32)),
	}}})
	f.AwaitEnd()
}

// Commit commits the checkpoint in Kafka, and tells the lambda. It is needed with [HoldCommits] alone.
func (f *Fake) Commit() {
	f.t.Helper()
	f.commit()
	f.Settle()
}

// Resume ends the lambda's pause, as an operator does.
func (f *Fake) Resume() {
	f.t.Helper()
	f.AwaitPause()
	f.endPause()
	f.Settle()
}

// Stop ends the process, as SIGTERM does, and returns what Serve returned.
func (f *Fake) Stop() error {
	f.stop()
	err := <-f.served
	f.served <- err
	return err
}

// FailProduce makes each record that the lambda produces fail for this reason; empty: they are written again.
func (f *Fake) FailProduce(reason string) {
	f.remote.Changed(func() { f.state.produceError = reason })
}

// end is what a stream in order ends with.
var end = io.EOF
