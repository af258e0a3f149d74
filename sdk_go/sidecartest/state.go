package sidecartest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	sidecar "kafka-sidecar.example/sdk_go"
	"kafka-sidecar.example/sdk_go/internal/played"
	pb "kafka-sidecar.example/sdk_go/protocol"
)

// Option is an option of [Start].
type Option func(testing.TB, *config)

// Settings are the lambda's settings. They must be fit for JSON.
func Settings(settings map[string]any) Option {
	return func(t testing.TB, c *config) {
		object, err := json.Marshal(settings)
		if err != nil {
			t.Fatalf("sidecartest.Settings: %v", err)
		}
		c.settings = string(object)
	}
}

// Partition says which partition it is; otherwise test/0.
func Partition(topic string, number int32) Option {
	return func(_ testing.TB, c *config) { c.topic, c.partition = topic, number }
}

// StartOffset is the offset of the first record; otherwise 0.
func StartOffset(offset int64) Option {
	return func(_ testing.TB, c *config) { c.start = offset }
}

// Lane makes it one lane of its partition, which has so many. Otherwise it is the whole partition.
func Lane(lane, lanes int) Option {
	return func(_ testing.TB, c *config) { c.lane, c.lanes = uint32(lane), uint32(lanes) }
}

// State is the state with which the first lambda starts; otherwise it has none.
func State(state []byte) Option {
	return func(_ testing.TB, c *config) { c.state = state }
}

// HoldCommits commits checkpoints by [Fake.Commit] only; otherwise each is committed at once.
func HoldCommits() Option {
	return func(_ testing.TB, c *config) { c.byHand = true }
}

// With gives options to [sidecar.Serve].
func With(options ...sidecar.Option) Option {
	return func(_ testing.TB, c *config) { c.options = append(c.options, options...) }
}

// maxStateBytes is how long a state may be, of all lanes of a partition together.
const maxStateBytes = 2048

// state is guarded by the mutex of the played sidecar.
type state struct {
	served   bool // Serve has returned
	spare    *played.Stream
	stream   *played.Stream // that has the partition
	lease    string         // of stream; empty: no lambda has the partition
	leases   int
	attempt  uint32
	log      []sidecar.Record
	position int64 // the next offset to deliver
	pause    *pb.Pause

	checkpoint   int64
	checkpoints  []int64
	kept         []byte // the state of the checkpoint
	committed    int64
	progress     string
	held         []heldOutput
	beyond       int
	beyondBytes  int64
	skipped      uint64
	skippedOnce  uint64 // by earlier leases
	skipping     []string
	errors       []Error
	sent         []sidecar.Output
	ends         map[string]int64 // the next offset of each topic that was produced to
	produceError string
}

func read[T any](f *Fake, what func(*state) T) (value T) {
	f.remote.Changed(func() { value = what(&f.state) })
	return value
}

// Checkpoint returns the last checkpoint; false: there is none yet.
func (f *Fake) Checkpoint() (int64, bool) {
	last := read(f, func(s *state) int64 { return s.checkpoint })
	return last, last >= f.config.start
}

// Checkpoints returns the checkpoints that came, in order. Only the latest is sent of those that are made quickly.
func (f *Fake) Checkpoints() []int64 {
	return read(f, func(s *state) []int64 { return slices.Clone(s.checkpoints) })
}

// State returns the state of the last checkpoint, or of the last one before it that had any; nil: none.
func (f *Fake) State() []byte {
	return read(f, func(s *state) []byte { return slices.Clone(s.kept) })
}

// Progress returns the latest sign of life that came. One a second comes at most: see [Fake.AwaitProgress].
func (f *Fake) Progress() string {
	return read(f, func(s *state) string { return s.progress })
}

// CompletedBeyond returns the latest numbers of records and bytes after the checkpoint that are done.
func (f *Fake) CompletedBeyond() (count int, bytes int64) {
	f.remote.Changed(func() { count, bytes = f.state.beyond, f.state.beyondBytes })
	return count, bytes
}

// Skipped returns how many records were skipped, by all lambdas, and the names of the latest things.
func (f *Fake) Skipped() (count uint64, names []string) {
	f.remote.Changed(func() { count, names = f.state.skipped, slices.Clone(f.state.skipping) })
	return count, names
}

// Errors returns every error and report, in order.
func (f *Fake) Errors() []Error {
	return read(f, func(s *state) []Error { return slices.Clone(s.errors) })
}

// Sent returns every record that the lambda produced, in order.
func (f *Fake) Sent() []sidecar.Output {
	return read(f, func(s *state) []sidecar.Output { return slices.Clone(s.sent) })
}

// Running reports whether a lambda has the partition. None has after an error, until [Fake.Assign] or [Fake.Restart].
func (f *Fake) Running() bool {
	return read(f, func(s *state) bool { return s.lease != "" })
}

// Paused returns the reason of the lambda's pause; false: there is no pause.
func (f *Fake) Paused() (string, bool) {
	pause := read(f, func(s *state) *pb.Pause { return s.pause })
	return pause.GetReason(), pause != nil
}

// ------------------------------------------------------------------------------------------- what the client sends

func (f *Fake) onFrame(stream *played.Stream, frame *pb.LambdaFrame) {
	switch kind := frame.Frame.(type) {
	case *pb.LambdaFrame_Offer:
		stream.Say(&pb.HostFrame{Frame: &pb.HostFrame_Welcome{Welcome: &pb.Welcome{
			SettingsJson: f.config.settings, ProtocolVersion: 1, WindowMessages: 10_000, SidecarVersion: "of a test",
			Limits: &pb.Limits{}, Capabilities: kind.Offer.Capabilities, Guarantee: f.config.guarantee,
			MaxStateBytes: maxStateBytes / max(1, f.config.lanes),
		}}})
	case *pb.LambdaFrame_Available:
		f.remote.Changed(func() { f.state.spare = stream })
	case *pb.LambdaFrame_Pause:
		f.remote.Changed(func() { f.state.paused(kind.Pause) })
	case *pb.LambdaFrame_Progress:
		f.remote.Changed(func() { f.state.progress = kind.Progress.Text })
	case *pb.LambdaFrame_Resume:
		f.endPause()
	case *pb.LambdaFrame_Closed:
		f.remote.Changed(func() {
			if entry := kind.Closed.LastCheckpoint; entry != nil {
				f.state.accept(entry)
			}
			f.state.gone()
		})
		stream.End(end)
	}
}

func (f *Fake) onCheckpoint(request *pb.CheckpointRequest) (*pb.CheckpointResponse, error) {
	response := &pb.CheckpointResponse{}
	f.remote.Changed(func() {
		for _, entry := range request.Entries {
			outcome := pb.CheckpointOutcome_CHECKPOINT_OUTCOME_STALE_LEASE
			if entry.Lease == f.state.lease {
				outcome = pb.CheckpointOutcome_CHECKPOINT_OUTCOME_ACCEPTED
				f.state.accept(entry)
			}
			response.Results = append(response.Results, &pb.CheckpointResult{Outcome: outcome})
		}
	})
	f.commitAtOnce()
	return response, nil
}

func (f *Fake) onError(request *pb.ErrorRequest) (*pb.ErrorResponse, error) {
	action, outcome := Report, pb.ErrorOutcome_ERROR_OUTCOME_REPORTED
	switch request.Action {
	case pb.ErrorAction_ERROR_ACTION_RESTART:
		action, outcome = Restart, pb.ErrorOutcome_ERROR_OUTCOME_RESTARTING
	case pb.ErrorAction_ERROR_ACTION_CRITICAL:
		action, outcome = Critical, pb.ErrorOutcome_ERROR_OUTCOME_HALTED
	}
	f.remote.Changed(func() {
		if request.LastCheckpoint != nil {
			f.state.accept(request.LastCheckpoint)
		}
		if action != Report {
			f.state.lease = "" // it is dead: what comes with it changes nothing
		}
		f.state.errors = append(f.state.errors, Error{
			Action: action, Offset: request.Offset, Code: request.Code, Message: request.Message, Type: request.Type,
			Stack: request.Stack,
		})
	})
	return &pb.ErrorResponse{Outcome: outcome}, nil
}

func (f *Fake) onProduce(_ context.Context, request *pb.ProduceRequest) (response *pb.ProduceResponse, _ error) {
	f.remote.Changed(func() {
		if reason := f.state.produceError; reason != "" {
			response = played.Answered(request, pb.ProduceOutcome_PRODUCE_OUTCOME_FAILED)
			for range request.Values {
				response.Errors = append(response.Errors, reason)
			}
			return
		}
		if f.config.guarantee == pb.Guarantee_GUARANTEE_EXACTLY_ONCE {
			response = f.state.hold(request)
			return
		}
		response = played.Written(request, 0)
		for i, output := range outputsOf(request) {
			response.Partitions[i], response.Offsets[i] = partitionOf(output), f.state.write(output)
		}
	})
	f.commitAtOnce()
	return response, nil
}

// ------------------------------------------------------------------------------------------- what the sidecar does

func (f *Fake) assign() {
	f.remote.Changed(func() {
		s := &f.state
		s.stream, s.spare = s.spare, nil
		s.leases++
		s.attempt++
		s.lease = fmt.Sprintf("lease-%d", s.leases)
		s.skippedOnce, s.skipping = s.skipped, nil
		s.position, s.pause = s.checkpoint+1, nil
	})
	start, kept := f.state.position, slices.Clone(f.state.kept)
	f.say(&pb.HostFrame{Frame: &pb.HostFrame_Assigned{Assigned: &pb.Assigned{
		Lease: f.state.lease, Topic: f.config.topic, Partition: f.config.partition, StartOffset: &start,
		Attempt: f.state.attempt, Lane: f.config.lane, Lanes: f.config.lanes, State: kept,
	}}})
	f.deliver()
}

// say sends a frame to the lambda that has the partition.
func (f *Fake) say(frame *pb.HostFrame) {
	if stream := read(f, func(s *state) *played.Stream { return s.stream }); stream != nil {
		stream.Say(frame)
	}
}

// deliver sends the records that were not sent yet, unless the lambda is paused.
func (f *Fake) deliver() {
	batches := read(f, func(s *state) (batches []*pb.Batch) {
		if s.lease == "" || s.pause != nil {
			return nil
		}
		for _, record := range s.log {
			if record.Offset >= s.position {
				batches = append(batches, batchOf(record))
				s.position = record.Offset + 1
			}
		}
		return batches
	})
	for _, batch := range batches {
		f.say(&pb.HostFrame{Frame: &pb.HostFrame_Batch{Batch: batch}})
	}
}

// commitAtOnce commits what is checkpointed, unless the test wants to do so itself.
func (f *Fake) commitAtOnce() {
	if !f.config.byHand {
		f.commit()
	}
}

func (f *Fake) commit() {
	moved, offset := false, int64(0)
	f.remote.Changed(func() {
		moved, offset = f.state.checkpoint > f.state.committed, f.state.checkpoint
		f.state.committed = offset
	})
	if moved {
		f.say(&pb.HostFrame{Frame: &pb.HostFrame_Committed{Committed: &pb.Committed{Offset: offset}}})
	}
}

func (f *Fake) endPause() {
	pause, from := (*pb.Pause)(nil), int64(0)
	f.remote.Changed(func() { pause, from, f.state.pause = f.state.pause, f.state.position, nil })
	if pause != nil {
		f.say(&pb.HostFrame{Frame: &pb.HostFrame_Resumed{Resumed: &pb.Resumed{Number: pause.Number, FromOffset: from}}})
		f.deliver()
	}
}

func (f *Fake) breakOff() {
	stream := read(f, func(s *state) *played.Stream {
		stream := s.stream
		s.gone()
		return stream
	})
	if stream != nil {
		stream.End(played.Broken)
	}
}

func (s *state) gone() { s.lease, s.stream, s.pause, s.held = "", nil, nil, nil }

func (s *state) accept(entry *pb.CheckpointEntry) {
	s.beyond, s.beyondBytes = int(entry.CompletedBeyond), int64(entry.CompletedBeyondBytes)
	s.skipped = max(s.skipped, s.skippedOnce+entry.Skipped)
	s.skipping = entry.Skipping
	if entry.Offset != nil && *entry.Offset > s.checkpoint {
		s.checkpoint = *entry.Offset
		s.checkpoints = append(s.checkpoints, s.checkpoint)
		s.attempt = 0
		if entry.State != nil {
			s.kept = append([]byte(nil), entry.State...) // nil if it is empty: none
		}
		s.release(s.checkpoint, func(int, int64) {})
	}
}

func (s *state) paused(pause *pb.Pause) {
	s.pause = pause
	if pause.Offset != nil {
		s.position = max(s.checkpoint+1, min(*pause.Offset, s.position))
	}
}
