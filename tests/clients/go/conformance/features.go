package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	sidecar "kafka-sidecar.example/sdk_go"
)

// progress tells the signs of life that `progress` asks for.
func (l *lambda) progress(record sidecar.Record) {
	for _, word := range l.process.script["progress"] {
		if !word.at(record.Offset) {
			continue
		}
		for step := int64(1); step <= word.number(1); step++ {
			l.Progress(strconv.FormatInt(step, 10))
			time.Sleep(word.duration(2))
		}
	}
}

// source is what `source` says about what is made from a record.
func (l *lambda) source(record sidecar.Record) *int64 {
	for _, word := range l.process.script["source"] {
		if word.at(record.Offset) {
			return &record.Offset
		}
	}
	return nil
}

// tell produces the line of `tell`, for the first record of the lambda.
func (l *lambda) tell(ctx context.Context) error {
	for _, word := range l.process.script["tell"] {
		if l.told {
			continue
		}
		l.told = true
		state := "''"
		if len(l.State()) > 0 {
			state = fmt.Sprintf("%x", l.State())
		}
		line := fmt.Sprintf("%d/%d %s %s", l.Lane(), l.Lanes(), l.Guarantee(), state)
		if _, err := l.Produce(sidecar.Output{Topic: word[0], Value: []byte(line)}).Wait(ctx); err != nil {
			return sidecar.Restart(err)
		}
	}
	return nil
}

// checkpointAt checkpoints an offset, with the state that `state` gives it.
func (l *lambda) checkpointAt(offset int64) {
	for _, word := range l.process.script["state"] {
		if !word.at(offset) {
			continue
		}
		state := strconv.FormatInt(offset, 10)
		if word[0] != "each" {
			state = word[1]
		}
		err := l.CheckpointState(offset, []byte(state))
		if err == nil {
			return
		}
		l.Report(sidecar.At(offset, err))
	}
	l.Checkpoint(offset)
}

// committed waits until the offset of `committed` is committed, and produces that it is.
func (l *lambda) committed(ctx context.Context, record sidecar.Record) error {
	for _, word := range l.process.script["committed"] {
		if !word.at(record.Offset) {
			continue
		}
		if err := l.Committed(context.WithoutCancel(ctx), record.Offset); err != nil {
			return err
		}
		if _, err := l.Produce(sidecar.Output{Topic: word[1], Value: []byte("committed")}).Wait(ctx); err != nil {
			return sidecar.Restart(err)
		}
	}
	return nil
}
