// The lambda of the chaos runs in Go: it writes down all its calls, and fails at records that ask for it. Settings, events
// and records are those of tests/chaos/recorder.py. Its only argument is the lambda's name.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	sidecar "kafka-sidecar.example/sdk_go"
)

// settings of the lambda.
type settings struct {
	Folder string  `json:"folder"` // of the histories
	Label  string  `json:"label"`  // the name of this process, a new one for each start
	Slot   any     `json:"slot"`   // of the sidecar that it dials
	Every  int     `json:"every"`  // messages between checkpoints
	Idle   float64 `json:"idle"`   // seconds after the last message before the last checkpoint
}

type factory struct {
	settings settings
	journal  *journal
	made     chan int // holds how many lambdas were made
}

// Load opens the history.
func (f *factory) Load(_ context.Context, given sidecar.Settings) error {
	f.settings = settings{Every: 10, Idle: 0.05}
	if err := given.Decode(&f.settings); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	var err error
	path := filepath.Join(f.settings.Folder, "history", "lambda-"+f.settings.Label+".jsonl")
	if f.journal, err = openJournal(path); err != nil {
		return err
	}
	return f.journal.write("started", fields{"pid": os.Getpid()})
}

// Create makes the lambda of a partition.
func (f *factory) Create(_ context.Context, partition *sidecar.Partition) (sidecar.Lambda, error) {
	made := <-f.made + 1
	f.made <- made
	lambda := newRecorder(f, partition, fmt.Sprintf("%s.%d", f.settings.Label, made))
	var start any
	if offset, known := partition.StartOffset(); known {
		start = offset
	}
	return lambda, lambda.note("created", fields{
		"slot": f.settings.Slot, "attempt": partition.Attempt(), "start": start,
		"lane": partition.Lane(), "state": string(partition.State()),
	})
}

// Dispose writes that the end was in order.
func (f *factory) Dispose(context.Context) error {
	return f.journal.write("disposed", nil)
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: recorder LAMBDA")
		os.Exit(2)
	}
	made := make(chan int, 1)
	made <- 0
	sidecar.Main(os.Args[1], &factory{made: made})
}
