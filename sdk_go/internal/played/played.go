// Package played is a sidecar in memory, whose part a test plays: it sees each frame and call, and says what comes back.
package played

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "kafka-sidecar.example/sdk_go/protocol"

	"kafka-sidecar.example/sdk_go/internal/wire"
)

// Sidecar is a [wire.Sidecar] and a [wire.Watcher]. Set the functions before it is used. They are called by the
// goroutine that sends or calls; a nil one of a call accepts everything.
type Sidecar struct {
	OnStream     func(*Stream)
	OnFrame      func(*Stream, *pb.LambdaFrame)
	OnCheckpoint func(*pb.CheckpointRequest) (*pb.CheckpointResponse, error)
	OnError      func(*pb.ErrorRequest) (*pb.ErrorResponse, error)
	OnProduce    func(context.Context, *pb.ProduceRequest) (*pb.ProduceResponse, error)

	mu      sync.Mutex
	busy    int
	changed chan struct{} // closed, and made anew, whenever something changed
	streams []*Stream
}

// Stream is one Serve call, as the sidecar sees it.
type Stream struct {
	sidecar *Sidecar
	ctx     context.Context
	// Guarded by the sidecar's mutex.
	frames  []*pb.HostFrame
	err     error // after the frames
	told    bool  // Recv has returned err
	reading bool  // Recv waits
	half    bool  // the client has ended its side
}

// New makes a sidecar.
func New() *Sidecar {
	return &Sidecar{changed: make(chan struct{})}
}

// change runs what changes something with the mutex held.
func (s *Sidecar) change(what func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	what()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Await waits until done, which is called with the mutex held; it reports whether that was in time.
func (s *Sidecar) Await(wait time.Duration, done func() bool) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		s.mu.Lock()
		over, changed := done(), s.changed
		s.mu.Unlock()
		if over {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			return false
		}
	}
}

// Settled reports whether the client has read all that it was sent, and nothing is going on there. The mutex is held.
func (s *Sidecar) Settled() bool {
	return s.busy == 0 && !slices.ContainsFunc(s.streams, func(stream *Stream) bool {
		idle := stream.reading && stream.err == nil || stream.told
		return stream.ctx.Err() == nil && (len(stream.frames) > 0 || !idle)
	})
}

// Busy implements [wire.Watcher].
func (s *Sidecar) Busy(change int) { s.change(func() { s.busy += change }) }

// Changed notes that something changed that an Await may wait for.
func (s *Sidecar) Changed(what func()) { s.change(what) }

// Serve implements [wire.Sidecar].
func (s *Sidecar) Serve(ctx context.Context) (wire.Stream, error) {
	stream := &Stream{sidecar: s, ctx: ctx}
	s.change(func() {
		s.streams = slices.DeleteFunc(s.streams, func(old *Stream) bool { return old.ctx.Err() != nil })
		s.streams = append(s.streams, stream)
	})
	if s.OnStream != nil {
		s.OnStream(stream)
	}
	return stream, nil
}

// Checkpoint implements [wire.Sidecar].
func (s *Sidecar) Checkpoint(_ context.Context, request *pb.CheckpointRequest) (*pb.CheckpointResponse, error) {
	if s.OnCheckpoint != nil {
		return s.OnCheckpoint(request)
	}
	response := &pb.CheckpointResponse{}
	for range request.Entries {
		response.Results = append(response.Results,
			&pb.CheckpointResult{Outcome: pb.CheckpointOutcome_CHECKPOINT_OUTCOME_ACCEPTED})
	}
	return response, nil
}

// Error implements [wire.Sidecar].
func (s *Sidecar) Error(_ context.Context, request *pb.ErrorRequest) (*pb.ErrorResponse, error) {
	if s.OnError != nil {
		return s.OnError(request)
	}
	return &pb.ErrorResponse{Outcome: pb.ErrorOutcome_ERROR_OUTCOME_RESTARTING}, nil
}

// Produce implements [wire.Sidecar].
func (s *Sidecar) Produce(ctx context.Context, request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
	if s.OnProduce != nil {
		return s.OnProduce(ctx, request)
	}
	return Written(request, 0), nil
}

// Close implements [wire.Sidecar].
func (s *Sidecar) Close() {}

// Written is the answer that all records were written, from this offset on.
func Written(request *pb.ProduceRequest, offset int64) *pb.ProduceResponse {
	response := Answered(request, pb.ProduceOutcome_PRODUCE_OUTCOME_WRITTEN)
	for i := range response.Offsets {
		response.Partitions[i], response.Offsets[i] = 0, offset+int64(i)
	}
	return response
}

// Answered is the same outcome for all records.
func Answered(request *pb.ProduceRequest, outcome pb.ProduceOutcome) *pb.ProduceResponse {
	response := &pb.ProduceResponse{}
	for range request.Values {
		response.Outcomes = append(response.Outcomes, outcome)
		response.Partitions = append(response.Partitions, -1)
		response.Offsets = append(response.Offsets, -1)
	}
	return response
}

// Say sends a frame to the client.
func (s *Stream) Say(frame *pb.HostFrame) {
	s.sidecar.change(func() { s.frames = append(s.frames, frame) })
}

// End ends the stream after what was said: in order (io.EOF), or with an error that has a status.
func (s *Stream) End(err error) {
	s.sidecar.change(func() {
		if s.err == nil {
			s.err = err
		}
	})
}

// Over reports whether the client has ended the stream, or its side of it.
func (s *Stream) Over() (broken, half bool) {
	s.sidecar.mu.Lock()
	defer s.sidecar.mu.Unlock()
	return s.ctx.Err() != nil, s.half
}

// Send implements [wire.Stream].
func (s *Stream) Send(frame *pb.LambdaFrame) error {
	s.sidecar.mu.Lock()
	over := s.ctx.Err() != nil || s.err != nil || s.half
	s.sidecar.mu.Unlock()
	if over {
		return io.EOF
	}
	if s.sidecar.OnFrame != nil {
		s.sidecar.OnFrame(s, frame)
	}
	return nil
}

// Recv implements [wire.Stream].
func (s *Stream) Recv() (frame *pb.HostFrame, err error) {
	for {
		var changed chan struct{}
		s.sidecar.mu.Lock()
		switch {
		case len(s.frames) > 0:
			frame, s.frames, s.reading = s.frames[0], s.frames[1:], false
		case s.err != nil:
			err, s.told = s.err, true
		case s.ctx.Err() != nil:
			err = status.FromContextError(s.ctx.Err()).Err()
		default:
			changed = s.sidecar.changed
			if !s.reading {
				s.reading = true
				close(s.sidecar.changed)
				s.sidecar.changed = make(chan struct{})
				changed = s.sidecar.changed
			}
		}
		s.sidecar.mu.Unlock()
		if changed == nil {
			return frame, err
		}
		select {
		case <-changed:
		case <-s.ctx.Done():
		}
	}
}

// CloseSend implements [wire.Stream].
func (s *Stream) CloseSend() error {
	s.sidecar.change(func() { s.half = true })
	return nil
}

// Broken is what a client gets when its connection broke.
var Broken = status.Error(codes.Unavailable, "the test broke the stream")
