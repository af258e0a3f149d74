package sidecartest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	sidecar "kafka-sidecar.example/sdk_go"
	"kafka-sidecar.example/sdk_go/sidecartest"
)

// upper produces each value in capitals, and does what a value asks for.
type upper struct {
	*sidecar.Partition
	closed chan sidecar.CloseReason
}

func (u *upper) Handle(ctx context.Context, record sidecar.Record) error {
	switch string(record.Value) {
	case "critical":
		return errors.New("no word")
	case "restart":
		return sidecar.Restart(errors.New("no database"))
	case "panic":
		panic("no hope")
	case "again":
		if u.Attempt() == 1 {
			return u.PauseFrom(record.Offset, "down", time.Minute)
		}
	case "pause":
		u.Pause("tired", time.Minute)
	case "report":
		u.Report(sidecar.At(record.Offset, errors.New("odd word")))
	}
	value := []byte(strings.ToUpper(string(record.Value)))
	if record.Value == nil {
		value = nil
	}
	output := sidecar.Output{Topic: "out", Key: record.Key, Value: value, Headers: record.Headers}
	if _, err := u.Produce(output).Wait(ctx); err != nil {
		return sidecar.Restart(err)
	}
	u.Checkpoint(record.Offset)
	return nil
}

func (u *upper) Close(_ context.Context, reason sidecar.CloseReason) error {
	u.closed <- reason
	return nil
}

func start(t *testing.T, options ...sidecartest.Option) (*sidecartest.Fake, chan sidecar.CloseReason) {
	closed := make(chan sidecar.CloseReason, 10)
	factory := func(_ context.Context, partition *sidecar.Partition) (sidecar.Lambda, error) {
		return &upper{partition, closed}, nil
	}
	return sidecartest.Start(t, sidecar.FactoryFunc(factory), options...), closed
}

func TestRecordsAreHandledAndCheckpointed(t *testing.T) {
	fake, closed := start(t, sidecartest.StartOffset(7), sidecartest.Partition("words", 3))
	if _, any := fake.Checkpoint(); any {
		t.Fatal("a checkpoint before any record")
	}
	fake.Feed("one", "two")
	fake.FeedRecords(sidecar.Record{Key: []byte{}, Headers: []sidecar.Header{{Name: "n"}, {Name: "n", Value: []byte("v")}}})
	if got, _ := fake.Checkpoint(); got != 9 {
		t.Errorf("checkpoint %d, want 9", got)
	}
	sent := fake.Sent()
	if len(sent) != 3 || string(sent[1].Value) != "TWO" || sent[1].Key != nil {
		t.Fatalf("sent %v", sent)
	}
	if last := sent[2]; last.Value != nil || last.Key == nil || last.Headers[0].Value != nil || string(last.Headers[1].Value) != "v" {
		t.Errorf("null and empty are mixed up: %v", last)
	}
	if err := fake.Stop(); err != nil {
		t.Error(err)
	}
	if reason := <-closed; reason != sidecar.CloseStopped {
		t.Errorf("closed: %s", reason)
	}
}

func TestAnErrorEndsTheLambda(t *testing.T) {
	for value, want := range map[string]sidecartest.Action{
		"critical": sidecartest.Critical, "restart": sidecartest.Restart, "panic": sidecartest.Critical,
	} {
		t.Run(value, func(t *testing.T) {
			fake, closed := start(t)
			fake.Feed("one", value, "three")
			if fake.Running() {
				t.Fatal("the lambda runs")
			}
			told := fake.Errors()
			if len(told) != 1 || told[0].Action != want || *told[0].Offset != 1 || told[0].Code != "handler_failed" {
				t.Fatalf("told: %+v", told)
			}
			if got, _ := fake.Checkpoint(); got != 0 {
				t.Errorf("checkpoint %d, want 0", got)
			}
			if reason := <-closed; reason != sidecar.CloseError {
				t.Errorf("closed: %s", reason)
			}
			if isPanic := value == "panic"; isPanic != strings.Contains(told[0].Stack, "upper).Handle") {
				t.Errorf("stack: %s", told[0].Stack)
			}
		})
	}
}

func TestANewLambdaStartsAfterTheCheckpoint(t *testing.T) {
	fake, closed := start(t)
	fake.Feed("one")
	fake.Rebalance()
	if reason := <-closed; reason != sidecar.CloseRebalanced {
		t.Errorf("closed: %s", reason)
	}
	fake.Feed("two")
	fake.Restart()
	if reason := <-closed; reason != sidecar.CloseError {
		t.Errorf("closed: %s", reason)
	}
	fake.Feed("three")
	if sent := fake.Sent(); len(sent) != 3 {
		t.Errorf("sent %v", sent)
	}
}

func TestAPauseHoldsTheRecords(t *testing.T) {
	fake, _ := start(t)
	fake.Feed("pause", "one")
	if reason, paused := fake.Paused(); !paused || reason != "tired" {
		t.Fatalf("paused %t: %q", paused, reason)
	}
	if got, _ := fake.Checkpoint(); got != 0 {
		t.Errorf("checkpoint %d: the record that paused is done, the next one waits", got)
	}
	fake.Resume()
	if got, _ := fake.Checkpoint(); got != 1 {
		t.Errorf("checkpoint %d", got)
	}
}

func TestAPauseWithAnOffsetDeliversAgain(t *testing.T) {
	fake, _ := start(t)
	fake.Feed("zero", "again", "two")
	if got, _ := fake.Checkpoint(); got != 0 {
		t.Fatalf("checkpoint %d", got)
	}
	fake.Resume() // it pauses again: each attempt is the first
	if _, paused := fake.Paused(); !paused {
		t.Fatal("the record did not come again")
	}
	if sent := fake.Sent(); len(sent) != 1 {
		t.Errorf("sent %v", sent)
	}
}

func TestAFailedOutputRestarts(t *testing.T) {
	fake, _ := start(t)
	fake.FailProduce("no broker")
	fake.Feed("one")
	if told := fake.Errors(); len(told) != 1 || told[0].Action != sidecartest.Restart || !strings.Contains(told[0].Message, "no broker") {
		t.Fatalf("told: %+v", told)
	}
	fake.FailProduce("")
	fake.Restart()
	if got, _ := fake.Checkpoint(); got != 0 {
		t.Errorf("checkpoint %d", got)
	}
}

func TestAReportStopsNothing(t *testing.T) {
	fake, _ := start(t)
	fake.Feed("report", "one")
	if told := fake.Errors(); len(told) != 1 || told[0].Action != sidecartest.Report || *told[0].Offset != 0 {
		t.Fatalf("told: %+v", told)
	}
	if got, _ := fake.Checkpoint(); got != 1 {
		t.Errorf("checkpoint %d", got)
	}
}
