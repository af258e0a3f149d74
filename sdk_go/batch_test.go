package sidecar

import (
	"fmt"
	"strings"
	"testing"
	"time"

	pb "kafka-sidecar.example/sdk_go/protocol"
)

// shown are all records of a batch.
func shown(t *testing.T, batch *pb.Batch) string {
	t.Helper()
	read, err := checked(batch)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for range read.count {
		record := read.next("t", 1)
		line := fmt.Sprintf("%d %s=%s", record.Offset, null(record.Key), null(record.Value))
		if !record.Timestamp.IsZero() {
			line += fmt.Sprintf(" %d:%d", record.TimestampType, record.Timestamp.UnixMilli())
		}
		for _, header := range record.Headers {
			line += fmt.Sprintf(" %q:%s", header.Name, null(header.Value))
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; ")
}

func null(data []byte) string {
	if data == nil {
		return "null"
	}
	return fmt.Sprintf("%q", data)
}

func TestColumnsBecomeRecords(t *testing.T) {
	for want, batch := range map[string]*pb.Batch{
		"":                      {},
		`0 null="a"; 1 null=""`: {Values: [][]byte{[]byte("a"), nil}},
		`3 ""="a"; 7 null=null`: {
			FirstOffset: 3, Offsets: []int64{3, 7}, Keys: [][]byte{nil, {}}, NullKeys: []uint32{1},
			Values: [][]byte{[]byte("a"), {}}, NullValues: []uint32{1},
		},
		`5 null="a" 1:0; 6 null="b"`: {
			FirstOffset: 5, Values: [][]byte{[]byte("a"), []byte("b")}, Timestamps: []int64{0, -1},
			TimestampType: pb.TimestampType_TIMESTAMP_TYPE_CREATE_TIME,
		},
		`0 null="a"`: {Values: [][]byte{[]byte("a")}, Timestamps: []int64{7}, TimestampType: 9},
		`0 null="a"; 1 null="b" "x":null "x":"1"; 2 null="c" "\xff":""`: {
			Values: [][]byte{[]byte("a"), []byte("b"), []byte("c")}, HeaderCounts: []uint32{0, 2, 1},
			HeaderNames: [][]byte{[]byte("x"), []byte("x"), {0xff}}, HeaderValues: [][]byte{{}, []byte("1"), {}},
			NullHeaderValues: []uint32{0},
		},
	} {
		if got := shown(t, batch); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestColumnsThatDoNotFitAreRefused(t *testing.T) {
	one := [][]byte{[]byte("a")}
	for field, batch := range map[string]*pb.Batch{
		"offsets":            {Values: one, Offsets: []int64{0, 1}},
		"ascend":             {Values: append(one, nil), Offsets: []int64{0, 0}},
		"first_offset 1":     {FirstOffset: 1, Values: one, Offsets: []int64{0}},
		"first_offset is":    {FirstOffset: -1, Values: one},
		"timestamps":         {Values: one, Timestamps: []int64{0, 0}},
		"keys":               {Values: one, Keys: append(one, nil)},
		"null_keys":          {Values: one, NullKeys: []uint32{0}},
		"null_values":        {Values: append(one, nil), NullValues: []uint32{1, 1}},
		"header_counts":      {Values: one, HeaderCounts: []uint32{1, 0}},
		"header_names":       {Values: one, HeaderCounts: []uint32{1}},
		"null_header_values": {Values: one, NullHeaderValues: []uint32{0}},
	} {
		if _, err := checked(batch); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func FuzzAFrameIsRefusedOrRead(f *testing.F) {
	f.Add(int64(0), 1, 1, 0, 0, uint32(0), uint32(0))
	f.Add(int64(5), 2, 0, 2, 1, uint32(1), uint32(1))
	f.Fuzz(func(t *testing.T, first int64, values, keys, stamps, headers int, null, count uint32) {
		size := func(n int) int { return min(max(n, 0), 50) }
		batch := &pb.Batch{
			FirstOffset: first, Values: make([][]byte, size(values)), Keys: make([][]byte, size(keys)),
			Timestamps: make([]int64, size(stamps)), TimestampType: 1, HeaderNames: make([][]byte, size(headers)),
			HeaderValues: make([][]byte, size(headers)), NullValues: []uint32{null}, HeaderCounts: []uint32{count},
		}
		read, err := checked(batch)
		if err != nil {
			return
		}
		for range read.count {
			read.next("t", 0)
		}
	})
}

func TestRemoteTextIsPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain – text": "plain – text", "\x1b[31m": `\x1b[31m`, "a\nb": `a\nb`, "\u202eabc": `\u202eabc`, "\xff": "\uFFFD",
	} {
		if got := printable(text); got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
	if got := clip("ab\xffü", 6); got != "ab\uFFFD" {
		t.Errorf("clipped to %q", got)
	}
}

func TestThePlanOfAnEnd(t *testing.T) {
	e := ending{began: time.Now().Add(-time.Second), time: 10 * time.Second}
	if left := e.left(writtenShare); left > 8*time.Second || left < 7*time.Second {
		t.Errorf("%s", left)
	}
}
