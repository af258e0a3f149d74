package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	sidecar "kafka-sidecar.example/sdk_go"
)

// lambda is the lambda of one partition.
type lambda struct {
	*sidecar.Partition
	process *process
	last    int64 // the last record whose handler returned
	since   int64 // records since the last checkpoint
	told    bool  // what it was told about its partition
	held    struct {
		count int
		bytes int64
	}
}

var errPlanned = errors.New("planned")

// Handle does for each record what the script says, in the order of docs/conformance.md.
func (l *lambda) Handle(ctx context.Context, record sidecar.Record) error {
	for _, word := range l.process.script["take"] {
		if word.at(record.Offset) {
			time.Sleep(word.duration(1))
		}
	}
	l.progress(record)
	if again, err := l.pause(record); again || err != nil {
		return err
	}
	if failed, err := l.fail(record); failed || err != nil {
		return err
	}
	for _, word := range l.process.script["report"] {
		if word.at(record.Offset) {
			l.Report(sidecar.At(record.Offset, errPlanned))
		}
	}
	if err := l.produce(ctx, record); err != nil {
		return err
	}
	l.checkpoint(record)
	l.last = record.Offset
	return l.committed(ctx, record)
}

// pause reports whether the record is to be delivered again.
func (l *lambda) pause(record sidecar.Record) (again bool, err error) {
	for _, word := range l.process.script["pause"] {
		if !word.at(record.Offset) || !l.process.firstPause(record.Offset) {
			continue
		}
		if again = len(word) > 2 && word[2] == "again"; again {
			err = l.PauseFrom(record.Offset, "planned", word.duration(1))
		} else {
			l.Pause("planned", word.duration(1))
		}
		for _, resume := range l.process.script["resume"] {
			time.AfterFunc(resume.duration(0), l.Resume)
		}
	}
	return again, err
}

// fail reports whether the lambda has failed.
func (l *lambda) fail(record sidecar.Record) (failed bool, err error) {
	for _, word := range l.process.script["fail"] {
		if !word.at(record.Offset) {
			continue
		}
		switch word[1] {
		case "restart":
			l.Fail(sidecar.Restart(sidecar.At(record.Offset, errPlanned)))
		case "critical":
			l.Fail(sidecar.At(record.Offset, errPlanned))
		case "lost":
			l.Fail(sidecar.Restart(errPlanned))
		case "raise":
			return true, errPlanned
		}
		return true, nil
	}
	return false, nil
}

// produce does what copy, send, try, describe and setting say.
func (l *lambda) produce(ctx context.Context, record sidecar.Record) error {
	script := l.process.script
	value := record.Value
	for _, word := range script["size"] {
		value = make([]byte, word.number(0))
	}
	same := func(topic string) *sidecar.Delivery {
		return l.Produce(sidecar.Output{
			Topic: topic, Key: record.Key, Value: value, Headers: record.Headers, Source: l.source(record),
		})
	}
	if err := l.tell(ctx); err != nil {
		return err
	}
	for _, word := range script["copy"] {
		if _, err := same(word[0]).Wait(ctx); err != nil {
			return sidecar.Restart(err)
		}
	}
	for _, word := range script["send"] {
		same(word[0])
	}
	for _, word := range script["try"] {
		if _, err := same(word[0]).Wait(ctx); err != nil {
			l.Logger().Info("taken", "error", err)
		}
	}
	for _, word := range script["describe"] {
		line := sidecar.Output{Topic: word[0], Value: []byte(describe(record))}
		if _, err := l.Produce(line).Wait(ctx); err != nil {
			return sidecar.Restart(err)
		}
	}
	return l.tellSetting(ctx)
}

func (l *lambda) tellSetting(ctx context.Context) (err error) {
	for _, word := range l.process.script["setting"] {
		l.process.first.Do(func() {
			var settings map[string]json.RawMessage
			if err = l.Settings().Decode(&settings); err != nil {
				return
			}
			output := sidecar.Output{Topic: word[1], Value: settings[word[0]]}
			var text string
			if json.Unmarshal(output.Value, &text) == nil {
				output.Value = []byte(text)
			}
			_, err = l.Produce(output).Wait(ctx)
			err = sidecar.Restart(err)
		})
	}
	return err
}

// checkpoint does what checkpoint, ahead and hold say.
func (l *lambda) checkpoint(record sidecar.Record) {
	holding := false
	for _, word := range l.process.script["hold"] {
		first, last := word.number(0), word.number(1)
		holding = holding || first <= record.Offset && record.Offset <= last
		switch {
		case first < record.Offset && record.Offset < last:
			l.held.count++
			l.held.bytes += int64(len(record.Key) + len(record.Value))
			l.CompletedBeyond(l.held.count, l.held.bytes)
		case record.Offset == last:
			l.held.count, l.held.bytes, l.since = 0, 0, 0
			l.CompletedBeyond(0, 0)
			l.checkpointAt(last)
		}
	}
	l.since++
	for _, word := range l.process.script["checkpoint"] {
		if !holding && l.since >= word.number(0) {
			l.since = 0
			l.checkpointAt(record.Offset)
		}
	}
	for _, word := range l.process.script["ahead"] {
		if word.at(record.Offset) {
			l.checkpointAt(word.number(1))
		}
	}
}

// Close checkpoints if `closing` says so.
func (l *lambda) Close(_ context.Context, reason sidecar.CloseReason) error {
	l.process.wait("close")
	if len(l.process.script["closing"]) > 0 && reason != sidecar.CloseError {
		l.checkpointAt(l.last)
	}
	return nil
}

// describe is the line about a record.
func describe(record sidecar.Record) string {
	stamp, kind := int64(-1), map[sidecar.TimestampType]string{
		sidecar.NoTimestamp: "none", sidecar.CreateTime: "create", sidecar.LogAppendTime: "append",
	}[record.TimestampType]
	if !record.Timestamp.IsZero() {
		stamp = record.Timestamp.UnixMilli()
	}
	headers := "none"
	for i, header := range record.Headers {
		one := fmt.Sprintf("%x:%s", header.Name, hexadecimal(header.Value))
		if i == 0 {
			headers = one
		} else {
			headers += "," + one
		}
	}
	return fmt.Sprintf("%s/%d %d %d %s %s %s %s", record.Topic, record.Partition, record.Offset, stamp, kind,
		hexadecimal(record.Key), hexadecimal(record.Value), headers)
}

func hexadecimal(data []byte) string {
	switch {
	case data == nil:
		return "-"
	case len(data) == 0:
		return "''"
	default:
		return fmt.Sprintf("%x", data)
	}
}
