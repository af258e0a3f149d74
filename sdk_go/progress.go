package sidecar

import (
	"math"

	pb "kafka-sidecar.example/sdk_go/protocol"
)

const (
	none     = int64(-1) // no offset
	maxNames = 10        // of skipped things in one entry
)

// told is what an entry says beside the offset.
type told struct {
	beyond      uint32
	beyondBytes uint64
	handled     int64
	skipped     *skips
}

// skips are the arguments of Partition.Skipped. They are not changed any more.
type skips struct {
	count  uint64
	things uint32
	names  []string
}

// progress is how far one lease has got, and what the sidecar knows of it. Its lease's mutex guards it.
type progress struct {
	lease     string
	changed   func() // there is something to send that was not there before
	hurry     func() // do not wait before the next call: much is handled that the sidecar was not told
	handled   int64  // the last record whose Handle returned
	sealed    bool   // nothing more is sent
	offset    int64  // the highest checkpoint
	now       told
	delivered int64 // the last record that came
	sent      int64 // the last offset in a request, whatever became of the request
	accepted  int64
	toldLast  told // as last sent
	untold    bool // what was sent is not known to have arrived
	dirty     bool
	quarter   int64   // of the window, in records
	inBytes   float64 // the same in bytes: times a count of records, it may exceed an integer
	inOffsets int64   // the same in offsets
	cameTo    int64   // the last offset of the last frame
	urgentAt  int64
	states    states
	calling   bool // an offset is under way in a Checkpoint call
	producing bool // exactly-once: a Produce call is under way, and no offset may be sent beside it
}

// newProgress makes the progress of a lease whose window is so many records, and bytes of them.
func newProgress(lease string, window uint32, windowBytes uint64, start int64, changed, hurry func()) progress {
	quarter := max(1, int64(window/4))
	nothing := told{handled: none}
	return progress{
		lease: lease, changed: changed, hurry: hurry, handled: none, offset: none, delivered: none, sent: none,
		accepted: none, now: nothing, toldLast: nothing, quarter: quarter, inBytes: float64(windowBytes / 4),
		inOffsets: quarter, cameTo: start - 1, urgentAt: start + quarter,
	}
}

// checkpoint notes that everything up to offset is done.
func (p *progress) checkpoint(offset int64) {
	if offset <= p.offset || p.sealed {
		return
	}
	p.offset = offset
	p.states.forget(min(offset, p.delivered))
	if offset <= p.sent {
		return // it went with what was produced before it
	}
	if !p.dirty {
		p.mark()
	} else if offset >= p.urgentAt {
		p.hurry()
	}
}

func (p *progress) completedBeyond(count uint32, bytes uint64) {
	if p.sealed || count == p.now.beyond && bytes == p.now.beyondBytes {
		return
	}
	p.now.beyond, p.now.beyondBytes = count, bytes
	p.mark()
}

func (p *progress) skip(what *skips) {
	if !p.sealed {
		p.now.skipped = what
		p.mark()
	}
}

// urgent: a quarter of the window is checkpointed and not told. As much again may be handled until the sidecar knows of
// it and has sent more; if it were told later, the window would run full at each round trip.
func (p *progress) urgent() bool { return p.dirty && p.offset >= p.urgentAt }

// came notes that a frame of count records and size bytes came, which ends with the offset last.
//
// The window counts records and their bytes, and checkpoints are offsets. Those of a lane have gaps where the records of
// other lanes are; so has a compacted log. How many offsets a quarter of the window takes is estimated by this frame.
func (p *progress) came(count int, last int64, size int) {
	byBytes := p.inBytes * float64(count) / float64(max(1, size)) // tombstones without keys have no bytes
	quarter := int64(min(float64(p.quarter), max(1, byBytes)))
	p.inOffsets = quarter * max(1, (last-p.cameTo)/int64(count))
	p.cameTo = last
	p.deliveredTo(last)
}

// deliveredTo notes that a frame came that ends with offset, or that the records after offset come again.
//
// A lambda with a store of its own may checkpoint an offset that has not come since its restart. Then the last delivered
// offset is sent instead, again with each frame. If it waited for its own offset, a full window would wait for ever.
func (p *progress) deliveredTo(offset int64) {
	ahead := p.offset > p.delivered
	p.delivered = offset
	if ahead && !p.sealed {
		p.mark()
	}
}

// handledMoved has `handled` sent if it moved without a checkpoint. Called once a second.
func (p *progress) handledMoved() {
	if !p.sealed && (p.untold || p.handled != p.toldLast.handled) {
		p.mark()
	}
}

// sendable is the offset that an entry may have now, for a checkpoint; none: none may be sent.
func (p *progress) sendable(checkpoint int64) int64 {
	offset := min(checkpoint, p.delivered)
	if p.sealed || offset < p.states.floor {
		return none
	}
	return offset
}

// offsetUntold reports whether a checkpoint may be sent that the sidecar is not known to have.
func (p *progress) offsetUntold() bool {
	return p.calling || p.sendable(p.offset) > p.sent
}

// take returns what there is to send in a Checkpoint call, and counts it as sent; nil: nothing.
func (p *progress) take() *pb.CheckpointEntry {
	p.dirty = false
	offset := p.sendable(p.offset)
	moved := offset > p.sent && !p.producing
	p.now.handled = p.handled
	if p.sealed || !moved && p.now == p.toldLast && !p.untold {
		return nil
	}
	entry := p.entryAndBeyond(offset, p.offset)
	if moved {
		p.calling = true
		p.sending(entry)
	} else {
		entry.Offset, entry.State = nil, nil
		p.toldLast, p.untold = p.now, false
	}
	return entry
}

// commit returns the entry that goes in a Produce call, for a checkpoint that waits for that call's records; nil: there is
// no need of one. It counts as sent when `sending` is called.
func (p *progress) commit(checkpoint int64) *pb.CheckpointEntry {
	offset := p.sendable(checkpoint)
	if offset <= p.sent {
		return nil
	}
	p.now.handled = p.handled
	return p.entryAndBeyond(offset, checkpoint)
}

func (p *progress) entryAndBeyond(offset, checkpoint int64) *pb.CheckpointEntry {
	entry := p.entry(offset, checkpoint)
	entry.CompletedBeyond, entry.CompletedBeyondBytes = p.now.beyond, p.now.beyondBytes
	return entry
}

// sending counts an entry with an offset as sent.
func (p *progress) sending(entry *pb.CheckpointEntry) {
	p.sent = *entry.Offset
	p.urgentAt = p.sent + p.inOffsets
	p.states.sent = p.states.at(p.sent)
	p.toldLast, p.untold = p.now, false
}

// entry has the offset and what belongs to it. The count of skipped records goes with the checkpoint, so both count or
// neither does: it is left out while the offset is only the last delivered one.
func (p *progress) entry(offset, checkpoint int64) *pb.CheckpointEntry {
	entry := &pb.CheckpointEntry{Lease: p.lease, Offset: &offset}
	if p.handled > none {
		handled := p.handled
		entry.Handled = &handled
	}
	if what := p.now.skipped; what != nil {
		if offset == checkpoint {
			entry.Skipped = what.count
		}
		entry.Skipping, entry.SkippingCount = what.names, what.things
	}
	p.states.into(entry)
	return entry
}

// failed notes that the request did not come through: what it carried has to be sent again.
func (p *progress) failed() {
	p.calling = false
	p.sent, p.untold = p.accepted, true
	if !p.sealed {
		p.mark()
	}
}

// answered takes the answer to entry. An unknown outcome, of a newer sidecar, counts as nothing.
func (p *progress) answered(entry *pb.CheckpointEntry, result *pb.CheckpointResult) {
	p.calling = false
	switch result.Outcome {
	case pb.CheckpointOutcome_CHECKPOINT_OUTCOME_ACCEPTED,
		pb.CheckpointOutcome_CHECKPOINT_OUTCOME_ACCEPTED_DRAINING,
		pb.CheckpointOutcome_CHECKPOINT_OUTCOME_IGNORED_LOWER:
		if entry.Offset != nil {
			p.accepted = max(p.accepted, *entry.Offset)
			p.states.known = p.states.sent
			p.states.forget(p.accepted)
		}
	case pb.CheckpointOutcome_CHECKPOINT_OUTCOME_BEYOND_DELIVERED:
		// deliveredTo sends the offset with the next frame. A frame that came while the call was under way has called it
		// already, with a higher offset than the call carried: so it is called once more for that frame.
		p.sent = p.accepted
		arrived, known := p.delivered, none
		if result.Delivered != nil {
			known = *result.Delivered
		}
		p.delivered = min(arrived, known)
		if arrived > entry.GetOffset() {
			p.deliveredTo(arrived)
		}
	case pb.CheckpointOutcome_CHECKPOINT_OUTCOME_STALE_LEASE:
		p.sealed = true
	}
}

// seal takes no more checkpoints; it returns the last one for Closed and Error, nil when it is accepted already. below
// is the record that failed: a checkpoint at or above it is dropped, since that record is not done. The checkpoint
// before that one is not known any more; the last accepted one holds.
func (p *progress) seal(below *int64) *pb.CheckpointEntry {
	if p.sealed {
		return nil
	}
	offset := p.sendable(p.offset)
	p.sealed = true
	if offset <= p.accepted || below != nil && offset >= *below {
		return nil
	}
	return p.entry(offset, p.offset)
}

func (p *progress) mark() {
	if !p.dirty {
		p.dirty = true
		p.changed()
	}
}

// madeSkips makes the arguments of Partition.Skipped fit an entry.
func madeSkips(count uint64, things int, names []string) *skips {
	if len(names) > maxNames {
		names = names[len(names)-maxNames:]
	}
	what := &skips{count: count, things: uint32(min(max(things, 0), math.MaxUint32))}
	for _, name := range names {
		what.names = append(what.names, clip(name, maxName))
	}
	return what
}
