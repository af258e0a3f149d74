package sidecar

import (
	"slices"
	"testing"
)

func TestTheQuarterCountsRecordsWhereOffsetsHaveGaps(t *testing.T) {
	hurries := 0
	p := newProgress("lease", 8, 0, func() {}, func() { hurries++ })
	p.came(10, 79) // of a lane, one of eight: a quarter of the window, 2 records, takes 16 offsets
	p.checkpoint(0)
	p.take()
	p.came(10, 89) // without gaps: that holds for what is sent after the next call
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
