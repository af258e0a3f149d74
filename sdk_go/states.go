package sidecar

import (
	"fmt"
	"slices"

	pb "kafka-sidecar.example/sdk_go/protocol"
)

// StateError says that a state cannot be kept with a checkpoint. Neither of them was taken.
type StateError struct {
	Length int // of the state, in bytes
	Most   int // how long a state may be, in bytes; 0: this sidecar keeps none
}

func (e *StateError) Error() string {
	if e.Most == 0 {
		return fmt.Sprintf("a state of %d bytes is not kept: the sidecar keeps no state; it needs a newer version", e.Length)
	}
	return fmt.Sprintf("a state of %d bytes is not kept: this sidecar takes at most %d; keep the rest elsewhere", e.Length, e.Most)
}

// stated is a state, and the checkpoint that it was given with.
type stated struct {
	offset int64
	state  []byte // never nil; empty: none from here on
}

// states are those that the lambda gave with its checkpoints, as far as the sidecar may need them. An entry has the last
// state that was given at or below its own offset, unless the sidecar has that one already. Which offset an entry will
// have is not known when a state is given: a checkpoint may wait for what was produced before it, and an offset that
// did not come yet is bounded by the last one that came.
type states struct {
	given []*stated // ascending
	floor int64     // a state below it was forgotten: an offset below it would go with one that is too old
	known *stated   // the sidecar has it
	sent  *stated   // of the request under way
}

func (s *states) add(offset int64, state []byte) {
	s.given = append(s.given, &stated{offset, append([]byte{}, state...)})
}

// at is the last one that was given at or below an offset, or nil.
func (s *states) at(offset int64) *stated {
	for i := len(s.given) - 1; i >= 0; i-- {
		if s.given[i].offset <= offset {
			return s.given[i]
		}
	}
	return nil
}

// forget drops those that no entry at or above this offset can have.
func (s *states) forget(offset int64) {
	count := 0
	for count+1 < len(s.given) && s.given[count+1].offset <= offset {
		count++
	}
	if count > 0 {
		s.given = slices.Delete(s.given, 0, count)
		s.floor = s.given[0].offset
	}
}

// into puts the state into an entry with this offset, if the sidecar needs it.
func (s *states) into(entry *pb.CheckpointEntry) {
	if state := s.at(entry.GetOffset()); state != nil && state != s.known {
		entry.State = state.state
	}
}
