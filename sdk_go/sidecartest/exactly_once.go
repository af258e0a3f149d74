package sidecartest

import (
	"testing"

	sidecar "kafka-sidecar.example/sdk_go"
	"kafka-sidecar.example/sdk_go/internal/played"
	pb "kafka-sidecar.example/sdk_go/protocol"
)

// ExactlyOnce gives the lambda the guarantee exactly-once: what it produces is held until a checkpoint covers it.
func ExactlyOnce() Option {
	return func(_ testing.TB, c *config) { c.guarantee = pb.Guarantee_GUARANTEE_EXACTLY_ONCE }
}

// heldOutput is a record that waits for a checkpoint.
type heldOutput struct {
	output sidecar.Output
	source int64 // the checkpoint that it needs; -1: any
}

// Held returns, with [ExactlyOnce], the records that wait for a checkpoint. Nobody sees them yet.
func (f *Fake) Held() []sidecar.Output {
	return read(f, func(s *state) (held []sidecar.Output) {
		for _, one := range s.held {
			held = append(held, one.output)
		}
		return held
	})
}

// Abort plays, with [ExactlyOnce], a transaction that is aborted: what is held is dropped, and the lambda ends. Assign
// makes a new one, after the last checkpoint.
func (f *Fake) Abort() {
	f.t.Helper()
	f.remote.Changed(func() { f.state.lease, f.state.held = "", nil })
	f.say(&pb.HostFrame{Frame: &pb.HostFrame_Revoked{Revoked: &pb.Revoked{Reason: pb.RevokeReason_REVOKE_REASON_ABORTED}}})
	f.AwaitEnd()
}

// hold keeps the records of a request, and makes its commit if it has one.
func (s *state) hold(request *pb.ProduceRequest) *pb.ProduceResponse {
	if request.Lease != s.lease {
		response := played.Answered(request, pb.ProduceOutcome_PRODUCE_OUTCOME_STALE_LEASE)
		if request.Commit != nil {
			response.Commit = &pb.CheckpointResult{Outcome: pb.CheckpointOutcome_CHECKPOINT_OUTCOME_STALE_LEASE}
		}
		return response
	}
	response := played.Answered(request, pb.ProduceOutcome_PRODUCE_OUTCOME_HELD)
	outputs := outputsOf(request)
	for _, output := range outputs {
		source := int64(-1)
		if output.Source != nil {
			source = *output.Source
		}
		s.held = append(s.held, heldOutput{output, source})
	}
	if request.Commit == nil {
		return response
	}
	response.Commit = &pb.CheckpointResult{Outcome: pb.CheckpointOutcome_CHECKPOINT_OUTCOME_ACCEPTED}
	first := len(s.held) - len(request.Values)
	s.release(request.Commit.GetOffset(), func(i int, offset int64) {
		if i -= first; i >= 0 {
			response.Outcomes[i] = pb.ProduceOutcome_PRODUCE_OUTCOME_WRITTEN
			response.Partitions[i], response.Offsets[i] = partitionOf(outputs[i]), offset
		}
	})
	s.accept(request.Commit)
	return response
}

// release makes visible what a checkpoint covers; written gets the index among the held records, and the offset.
func (s *state) release(checkpoint int64, written func(i int, offset int64)) {
	var rest []heldOutput
	for i, one := range s.held {
		if one.source > checkpoint {
			rest = append(rest, one)
			continue
		}
		written(i, s.write(one.output))
	}
	s.held = rest
}

// write appends a record to its topic; it returns its offset.
func (s *state) write(output sidecar.Output) int64 {
	if s.ends == nil {
		s.ends = map[string]int64{}
	}
	offset := s.ends[output.Topic]
	s.ends[output.Topic]++
	s.sent = append(s.sent, output)
	return offset
}

func partitionOf(output sidecar.Output) int32 {
	if output.Partition != nil {
		return *output.Partition
	}
	return 0
}
