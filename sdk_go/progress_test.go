package sidecar

import (
	"math"
	"slices"
	"testing"
)

func TestTheQuarterCountsRecordsWhereOffsetsHaveGaps(t *testing.T) {
	hurries := 0
	p := newProgress("lease", 8, 1<<40, 0, func() {}, func() { hurries++ })
	p.came(10, 79, 0) // of a lane, one of eight: a quarter of the window, 2 records, takes 16 offsets
	p.checkpoint(0)
	p.take()
	p.came(10, 89, 0) // without gaps: that holds for what is sent after the next call
	var urgent []int64
	for _, offset := range []int64{1, 15, 16, 17, 18} {
		p.checkpoint(offset)
		if p.urgent() {
			urgent = append(urgent, offset)
			p.take()
		}
	}
	if !slices.Equal(urgent, []int64{16, 18}) || hurries != 2 {
		t.Errorf("urgent at %v, hurried %d times", urgent, hurries)
	}
}

// Of 1 kB, and then of 3 kB, each: the window of 32 kB holds fewer of them than the window of 100 records.
func TestTheQuarterCountsBytesWhereRecordsAreLarge(t *testing.T) {
	p := newProgress("lease", 100, 32_000, 0, func() {}, func() {})
	p.came(20, 19, 20_000)
	p.checkpoint(0)
	p.take()
	for _, frame := range []struct{ last, size, urgent int64 }{
		{20, 3_000, 8}, {21, 3_000, 10}, {22, 100_000, 12}, {23, 100_000, 13},
	} {
		p.came(1, frame.last, int(frame.size)) // what it says of sizes holds for what is sent after the next call
		p.checkpoint(frame.urgent - 1)
		if p.urgent() {
			t.Errorf("urgent at %d", frame.urgent-1)
		}
		p.checkpoint(frame.urgent)
		if !p.urgent() {
			t.Errorf("not urgent at %d", frame.urgent)
		}
		p.take()
	}
}

// Also where a frame has no bytes, and where a window in bytes is as large or as small as it can be.
func TestTheQuarterIsNeverLargerThanThatOfRecordsAndNeverNone(t *testing.T) {
	for _, one := range []struct {
		windowBytes uint64
		size        int
		want        int64
	}{{32_000, 0, 25}, {math.MaxUint64, 0, 25}, {math.MaxUint64, math.MaxInt, 2}, {math.MaxUint64, 1, 25}, {1, 0, 1}, {1, 1, 1}} {
		p := newProgress("lease", 100, one.windowBytes, 0, func() {}, func() {})
		p.came(4, 3, one.size)
		if p.inOffsets != one.want {
			t.Errorf("%d bytes in a window of %d: a quarter is %d", one.size, one.windowBytes, p.inOffsets)
		}
	}
}
