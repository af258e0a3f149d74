package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	sidecar "kafka-sidecar.example/sdk_go"
)

// recorder is the lambda of one partition. Its timer has a goroutine of its own: the mutex guards last and since, and is
// held from writing "checkpointed" until the checkpoint is made, so that the history has them in their order.
type recorder struct {
	*sidecar.Partition
	factory *factory
	name    string // of this lambda in the history, as its lease

	mu    sync.Mutex
	last  int64
	since int
	timer *time.Timer
}

func newRecorder(factory *factory, partition *sidecar.Partition, name string) *recorder {
	made := &recorder{Partition: partition, factory: factory, name: name, last: -1}
	made.timer = time.AfterFunc(time.Hour, made.onIdle)
	made.timer.Stop()
	return made
}

// request is a record's value: it may ask for a failure.
type request struct {
	Fail     string `json:"fail"`
	Attempts *int64 `json:"attempts"` // fail so often in all processes together; otherwise always
}

// Handle writes the record down.
func (r *recorder) Handle(_ context.Context, record sidecar.Record) error {
	var asked request
	if len(record.Value) > 0 {
		if err := json.Unmarshal(record.Value, &asked); err != nil {
			return err
		}
	}
	if asked.Fail != "" {
		if failed, err := r.fail(asked, record.Offset); failed || err != nil {
			return err
		}
	}
	if err := r.note("handled", fields{"offset": record.Offset}); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = record.Offset
	r.since++
	r.timer.Stop()
	if r.since >= r.factory.settings.Every {
		return r.checkpoint()
	}
	r.timer.Reset(time.Duration(r.factory.settings.Idle * float64(time.Second)))
	return nil
}

// Close checkpoints the last records in half of the cases only: an end without it must be correct too.
func (r *recorder) Close(_ context.Context, reason sidecar.CloseReason) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer.Stop()
	if err := r.note("closing", fields{"reason": reason}); err != nil {
		return err
	}
	if reason != sidecar.CloseError && r.last%2 == 0 {
		if err := r.checkpoint(); err != nil {
			return err
		}
	}
	r.since = 0 // a timer that has fired already, and waits for the mutex, finds nothing to do
	return r.note("closed", nil)
}

func (r *recorder) onIdle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.checkpoint(); err != nil {
		r.Fail(err)
	}
}

// checkpoint writes first, so that the sidecar never knows more than the history.
func (r *recorder) checkpoint() error {
	if r.since == 0 {
		return nil
	}
	r.since = 0
	if err := r.note("checkpointed", fields{"offset": r.last}); err != nil {
		return err
	}
	return r.CheckpointState(r.last, []byte(strconv.FormatInt(r.last, 10)))
}

// fail fails if it is not enough yet; it reports whether it did.
func (r *recorder) fail(asked request, offset int64) (bool, error) {
	if asked.Attempts != nil {
		attempts, err := r.counted(offset)
		if err != nil || attempts > *asked.Attempts {
			return false, err
		}
	}
	critical := asked.Fail == "raise"
	if err := r.note("failed", fields{"offset": offset, "critical": critical}); err != nil {
		return true, err
	}
	reason := fmt.Errorf("record %d asks for it", offset)
	if critical {
		return true, reason
	}
	return true, sidecar.Restart(reason)
}

// counted is the number of attempts at this record in all processes, this one included.
func (r *recorder) counted(offset int64) (attempts int64, err error) {
	path := filepath.Join(r.factory.settings.Folder, "failures", fmt.Sprintf("%d-%d", r.Number(), offset))
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() {
		if failed := file.Close(); err == nil {
			err = failed
		}
	}()
	if _, err = file.WriteString("."); err != nil {
		return 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (r *recorder) note(kind string, event fields) error {
	event = maps.Clone(event)
	if event == nil {
		event = fields{}
	}
	event["lease"], event["partition"] = r.name, r.Number()
	return r.factory.journal.write(kind, event)
}
