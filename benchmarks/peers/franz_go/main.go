// Package main is a consumer loop of franz-go: each partition's records of a poll, and a commit of them each second.
// It talks to its runner as tally.py says.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const partitions = 8

// A tally counts records, and those that were not the next one of their partition.
type tally struct {
	total, warm, count, next int
	counts                   [partitions]int64
	strange                  int
	began                    time.Time
	finished                 bool
}

func (t *tally) one(partition int32, offset int64) {
	if t.counts[partition] != offset {
		t.strange++
	}
	t.counts[partition]++
	t.count++
	if t.count >= t.next {
		t.look()
	}
}

func (t *tally) look() {
	switch {
	case t.began.IsZero():
		t.began, t.warm, t.next = time.Now(), t.count, t.total
		say(map[string]any{"warm": true})
	case !t.finished:
		t.finished = true
		say(map[string]any{
			"records":       t.count,
			"measured":      t.count - t.warm,
			"seconds":       time.Since(t.began).Seconds(),
			"per_partition": t.counts,
			"strange":       t.strange,
		})
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the runner has read its figures
	}
}

func say(message map[string]any) {
	line, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	broker, topic, group := arguments[0], arguments[1], arguments[2]
	total, err := strconv.Atoi(arguments[3])
	if err != nil {
		return err
	}
	warm, err := strconv.Atoi(arguments[4])
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(broker),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(time.Second),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	counted := &tally{total: total, warm: warm, next: warm}
	for !counted.finished {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(record *kgo.Record) { counted.one(record.Partition, record.Offset) })
		fetches.EachPartition(func(fetched kgo.FetchTopicPartition) {
			if len(fetched.Records) > 0 {
				client.MarkCommitRecords(fetched.Records[len(fetched.Records)-1])
			}
		})
	}
	return client.CommitMarkedOffsets(ctx)
}
