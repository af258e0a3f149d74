package sidecar_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sidecar "kafka-sidecar.example/sdk_go"
	"kafka-sidecar.example/sdk_go/internal/played"
	pb "kafka-sidecar.example/sdk_go/protocol"
)

// world is a process that serves a lambda, and the sidecar whose part the test plays, in synctest's time.
type world struct {
	t       *testing.T
	remote  *played.Sidecar
	streams chan *link
	links   map[*played.Stream]*link // written by OnStream only, which the client calls one after the other
	mu      sync.Mutex
	stop    context.CancelFunc
	served  chan error
}

// link is one stream and what the client has sent on it.
type link struct {
	*played.Stream
	t      *testing.T
	opened time.Time
	frames chan *pb.LambdaFrame
}

// long is a time after which nothing comes any more.
const long = 10 * time.Minute

// play runs a test in synctest's time, while a process serves the factory.
func play(t *testing.T, factory sidecar.Factory, test func(*world), options ...sidecar.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			t: t, remote: played.New(), streams: make(chan *link, 1000), links: map[*played.Stream]*link{},
			served: make(chan error, 1),
		}
		w.remote.OnStream = func(stream *played.Stream) {
			made := &link{stream, t, time.Now(), make(chan *pb.LambdaFrame, 1000)}
			w.mu.Lock()
			w.links[stream] = made
			w.mu.Unlock()
			w.streams <- made
		}
		w.remote.OnFrame = func(stream *played.Stream, frame *pb.LambdaFrame) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.links[stream].frames <- frame
		}
		ctx, stop := context.WithCancel(t.Context())
		w.stop = stop
		given := []sidecar.Option{sidecar.WithSidecar(w.remote), sidecar.WithLogger(slog.New(slog.NewTextHandler(t.Output(), nil)))}
		go func() { w.served <- sidecar.Serve(ctx, "words", factory, append(given, options...)...) }()
		defer func() {
			stop()
			<-w.served
		}()
		test(w)
	})
}

// stream is the next one that the process opens.
func (w *world) stream() *link {
	w.t.Helper()
	select {
	case opened := <-w.streams:
		return opened
	case <-time.After(long):
		w.t.Fatal("no stream is opened")
		return nil
	}
}

// spare is the next stream, once it waits for a partition.
func (w *world) spare() *link { return w.spareWith(&pb.Welcome{}) }

func (w *world) spareWith(welcome *pb.Welcome) *link {
	w.t.Helper()
	stream := w.stream()
	stream.offer()
	stream.welcome(welcome)
	stream.next("Available")
	return stream
}

// ready is the next stream once it has this partition and is ready.
func (w *world) ready(lease string, number int32) *link {
	w.t.Helper()
	return w.readyWith(&pb.Welcome{}, lease, number)
}

func (w *world) readyWith(welcome *pb.Welcome, lease string, number int32) *link {
	w.t.Helper()
	stream := w.spareWith(welcome)
	stream.assign(lease, number)
	if got := stream.next("Ready").GetReady().Lease; got != lease {
		w.t.Fatalf("ready for %q", got)
	}
	return stream
}

// ends waits for the end of Serve.
func (w *world) ends() error {
	w.t.Helper()
	select {
	case err := <-w.served:
		w.served <- err
		return err
	case <-time.After(long):
		w.t.Fatal("Serve does not end")
		return nil
	}
}

func (l *link) offer() *pb.Offer {
	l.t.Helper()
	return l.next("Offer").GetOffer()
}

func (l *link) welcome(welcome *pb.Welcome) {
	welcome.ProtocolVersion = 1
	if welcome.WindowMessages == 0 {
		welcome.WindowMessages = 100
	}
	l.Say(&pb.HostFrame{Frame: &pb.HostFrame_Welcome{Welcome: welcome}})
	l.Say(&pb.HostFrame{}) // as the sidecar sends on spare streams
}

func (l *link) assign(lease string, number int32) {
	l.Say(&pb.HostFrame{Frame: &pb.HostFrame_Assigned{Assigned: &pb.Assigned{
		Lease: lease, Topic: "t", Partition: number, StartOffset: new(int64(0)), Attempt: 1,
	}}})
}

// batch sends records with these offsets; each value is its offset.
func (l *link) batch(offsets ...int64) {
	batch := &pb.Batch{FirstOffset: offsets[0], Offsets: offsets}
	for _, offset := range offsets {
		batch.Values = append(batch.Values, fmt.Appendf(nil, "%d", offset))
	}
	l.Say(&pb.HostFrame{Frame: &pb.HostFrame_Batch{Batch: batch}})
}

func (l *link) revoke(reason pb.RevokeReason, deadline time.Duration) {
	l.Say(&pb.HostFrame{Frame: &pb.HostFrame_Revoked{Revoked: &pb.Revoked{
		Reason: reason, DeadlineMs: uint32(deadline.Milliseconds()),
	}}})
}

func (l *link) committed(offset int64) {
	l.Say(&pb.HostFrame{Frame: &pb.HostFrame_Committed{Committed: &pb.Committed{Offset: offset}}})
}

// next is the next frame, which must be of this kind.
func (l *link) next(kind string) *pb.LambdaFrame {
	l.t.Helper()
	select {
	case frame := <-l.frames:
		if got := fmt.Sprintf("%T", frame.Frame); got != "*protocol.LambdaFrame_"+kind {
			l.t.Fatalf("%s came, want %s: %v", got, kind, frame)
		}
		return frame
	case <-time.After(long):
		l.t.Fatalf("no %s comes", kind)
		return nil
	}
}

// closed is the next frame, which must be Closed with this reason; it returns the last checkpoint, -1 for none.
func (l *link) closed(reason pb.ClosedReason) int64 {
	l.t.Helper()
	closed := l.next("Closed").GetClosed()
	if closed.Reason != reason {
		l.t.Errorf("closed with %s, want %s", closed.Reason, reason)
	}
	if closed.LastCheckpoint == nil {
		return -1
	}
	return closed.LastCheckpoint.GetOffset()
}

// silent checks that the client sends nothing more, and has not broken the stream.
func (l *link) silent() {
	l.t.Helper()
	synctest.Wait()
	select {
	case frame := <-l.frames:
		l.t.Fatalf("%v came", frame)
	default:
	}
	if broken, _ := l.Over(); broken {
		l.t.Fatal("the stream is broken")
	}
}

// broken waits until the client breaks the stream.
func (l *link) broken() {
	l.t.Helper()
	for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if broken, _ := l.Over(); broken {
			return
		}
	}
	l.t.Fatal("the stream is not broken")
}

// breakOff breaks a stream as a sidecar does that is gone.
func (l *link) breakOff() { l.End(played.Broken) }

func refused(code codes.Code) error { return status.Error(code, "because\x1b[31m") }

// calls keeps the calls of one kind, and checks that there is one at a time.
type calls[Request any] struct {
	mu       sync.Mutex
	requests []Request
	underWay int
	most     int
}

func (c *calls[Request]) begin(request Request) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = append(c.requests, request)
	c.underWay++
	c.most = max(c.most, c.underWay)
	return len(c.requests)
}

func (c *calls[Request]) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.underWay--
}

func (c *calls[Request]) all() []Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.requests)
}

// checkpoints keeps the calls to Checkpoint; answer nil: accepted.
func (w *world) checkpoints(answer func(n int, entry *pb.CheckpointEntry) (*pb.CheckpointResult, error)) *calls[*pb.CheckpointRequest] {
	kept := &calls[*pb.CheckpointRequest]{}
	w.remote.OnCheckpoint = func(request *pb.CheckpointRequest) (*pb.CheckpointResponse, error) {
		n := kept.begin(request)
		defer kept.end()
		time.Sleep(time.Millisecond)
		response := &pb.CheckpointResponse{}
		for _, entry := range request.Entries {
			result := &pb.CheckpointResult{Outcome: pb.CheckpointOutcome_CHECKPOINT_OUTCOME_ACCEPTED}
			if answer != nil {
				var err error
				if result, err = answer(n, entry); err != nil {
					return nil, err
				}
			}
			response.Results = append(response.Results, result)
		}
		return response, nil
	}
	return kept
}

// offsets are those of all entries of all calls.
func offsets(kept *calls[*pb.CheckpointRequest]) (all []int64) {
	for _, request := range kept.all() {
		for _, entry := range request.Entries {
			if entry.Offset != nil {
				all = append(all, *entry.Offset)
			}
		}
	}
	return all
}

// errorsOf keeps the calls to Error.
func (w *world) errorsOf(answer func(n int) error) *calls[*pb.ErrorRequest] {
	kept := &calls[*pb.ErrorRequest]{}
	w.remote.OnError = func(request *pb.ErrorRequest) (*pb.ErrorResponse, error) {
		n := kept.begin(request)
		defer kept.end()
		if answer != nil {
			if err := answer(n); err != nil {
				return nil, err
			}
		}
		return &pb.ErrorResponse{Outcome: pb.ErrorOutcome_ERROR_OUTCOME_RESTARTING}, nil
	}
	return kept
}

// produces keeps the calls to Produce; answer nil: written.
func (w *world) produces(answer func(n int, request *pb.ProduceRequest) (*pb.ProduceResponse, error)) *calls[*pb.ProduceRequest] {
	kept := &calls[*pb.ProduceRequest]{}
	w.remote.OnProduce = func(ctx context.Context, request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
		n := kept.begin(request)
		defer kept.end()
		time.Sleep(5 * time.Millisecond)
		if answer != nil {
			return answer(n, request)
		}
		return played.Written(request, 0), nil
	}
	return kept
}

// written is the answer that all records were written.
func written(request *pb.ProduceRequest) *pb.ProduceResponse { return played.Written(request, 0) }

// errEOF ends a stream in order.
var errEOF = io.EOF

// pass lets time pass, and then everything happen that happens at that time.
func pass(wait time.Duration) {
	time.Sleep(wait)
	synctest.Wait()
}
