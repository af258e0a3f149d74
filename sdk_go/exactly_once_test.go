package sidecar_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	sidecar "kafka-sidecar.example/sdk_go"
	"kafka-sidecar.example/sdk_go/internal/played"
	pb "kafka-sidecar.example/sdk_go/protocol"
)

// transactional plays the sidecar's part in exactly-once: it holds records, and a commit makes them visible.
type transactional struct {
	mu        sync.Mutex
	underWay  int // calls to Produce
	held      []string
	visible   []string
	commits   []string // "offset: what became visible with it"
	calls     []string // "values" or "values | commit", of Produce; "checkpoint" of Checkpoint
	committed int64
	delay     func() time.Duration
	faults    func(request *pb.ProduceRequest) (*pb.ProduceResponse, error) // nil, nil: none
	t         *testing.T
	onCommit  func(offset int64, visible []string)
}

func (x *transactional) commit(offset int64) {
	if offset > x.committed {
		x.commits = append(x.commits, fmt.Sprintf("%d: %s", offset, strings.Join(x.held, " ")))
		x.committed = offset
		x.visible, x.held = append(x.visible, x.held...), nil
		if x.onCommit != nil {
			x.onCommit(offset, x.visible)
		}
	}
}

func (x *transactional) produce(_ context.Context, request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
	if faults := x.faults; faults != nil {
		if response, err := faults(request); response != nil || err != nil {
			return response, err
		}
	}
	x.mu.Lock()
	x.underWay++
	if x.underWay > 1 {
		x.t.Error("two calls to Produce at a time")
	}
	var values []string
	for _, value := range request.Values {
		values = append(values, string(value))
	}
	call := strings.Join(values, " ")
	x.held = append(x.held, values...)
	response := played.Answered(request, pb.ProduceOutcome_PRODUCE_OUTCOME_HELD)
	if request.Commit != nil {
		call += " | " + said(request.Commit)
		x.commit(request.Commit.GetOffset())
		response = played.Written(request, 0)
		response.Commit = &pb.CheckpointResult{Outcome: pb.CheckpointOutcome_CHECKPOINT_OUTCOME_ACCEPTED}
	}
	x.calls = append(x.calls, call)
	x.mu.Unlock()
	time.Sleep(x.delay())
	x.mu.Lock()
	x.underWay--
	x.mu.Unlock()
	return response, nil
}

func (x *transactional) checkpoint(request *pb.CheckpointRequest) (*pb.CheckpointResponse, error) {
	x.mu.Lock()
	response := &pb.CheckpointResponse{}
	for _, entry := range request.Entries {
		if entry.Offset != nil {
			if x.underWay > 0 {
				x.t.Error("a checkpoint beside a call to Produce")
			}
			x.calls = append(x.calls, "checkpoint "+said(entry))
			x.commit(*entry.Offset)
		}
		response.Results = append(response.Results, &pb.CheckpointResult{Outcome: pb.CheckpointOutcome_CHECKPOINT_OUTCOME_ACCEPTED})
	}
	x.mu.Unlock()
	time.Sleep(x.delay())
	return response, nil
}

// exactly plays a test with a sidecar that has this guarantee, and a stream that is ready.
func exactly(t *testing.T, factory sidecar.Factory, test func(w *world, x *transactional, stream *link)) {
	t.Helper()
	play(t, factory, func(w *world) {
		x := &transactional{t: t, committed: -1, delay: func() time.Duration { return 100 * time.Millisecond }}
		w.remote.OnProduce, w.remote.OnCheckpoint = x.produce, x.checkpoint
		stream := w.stream()
		if offer := stream.offer(); !slices.Contains(offer.Capabilities, "exactly-once") {
			t.Errorf("offer: %v", offer)
		}
		stream.welcome(&pb.Welcome{Guarantee: pb.Guarantee_GUARANTEE_EXACTLY_ONCE, MaxStateBytes: 100})
		stream.next("Available")
		stream.assign("a", 0)
		stream.next("Ready")
		test(w, x, stream)
	})
}

func out(value string) sidecar.Output { return sidecar.Output{Topic: "out", Value: []byte(value)} }

func TestRecordsGoWithTheCheckpointAfterThem(t *testing.T) {
	exactly(t, lambdas(func(_ context.Context, l *lambda, record sidecar.Record) error {
		for i := range 2 {
			l.Produce(out(fmt.Sprintf("%d.%d", record.Offset, i)))
		}
		err := l.CheckpointState(record.Offset, record.Value)
		l.Produce(out(fmt.Sprintf("%d.late", record.Offset)))
		return err
	}, nil), func(w *world, x *transactional, stream *link) {
		stream.batch(0, 1, 2)
		pass(time.Minute)
		x.mu.Lock()
		defer x.mu.Unlock()
		if last := x.calls[len(x.calls)-1]; last != "2.late" {
			t.Errorf("calls %q", x.calls)
		}
		if commit := x.calls[len(x.calls)-2]; !strings.HasSuffix(commit, "2.0 2.1 | 2=2") {
			t.Errorf("calls %q", x.calls)
		}
		if got := strings.Join(x.visible, " "); got != "0.0 0.1 0.late 1.0 1.1 1.late 2.0 2.1" {
			t.Errorf("visible %s", got)
		}
	})
}

func TestHeldIsAnOutcomeAndTheCheckpointAfterItGoesAlone(t *testing.T) {
	var produced []sidecar.Produced
	exactly(t, lambdas(func(ctx context.Context, l *lambda, record sidecar.Record) error {
		where, err := l.Produce(out(string(record.Value))).Wait(ctx)
		produced = append(produced, where)
		l.Checkpoint(record.Offset)
		return err
	}, nil), func(w *world, x *transactional, stream *link) {
		stream.batch(0, 1)
		pass(time.Minute)
		if want := []string{"0", "checkpoint 0", "1", "checkpoint 1"}; !slices.Equal(x.calls, want) {
			t.Errorf("calls %q", x.calls)
		}
		if len(produced) != 2 || produced[1] != (sidecar.Produced{Topic: "out", Partition: -1, Offset: -1}) {
			t.Errorf("produced %v", produced)
		}
	})
}

func TestACallWithoutAnAnswerEndsTheLambda(t *testing.T) {
	for name, waits := range map[string]bool{"with a commit": false, "taken": true} {
		t.Run(name, func(t *testing.T) {
			exactly(t, lambdas(func(ctx context.Context, l *lambda, record sidecar.Record) error {
				delivery := l.Produce(out("lost"))
				if waits {
					if _, err := delivery.Wait(ctx); err == nil {
						t.Error("written")
					}
					l.Produce(out("again"))
				}
				l.Checkpoint(record.Offset)
				return nil
			}, nil), func(w *world, x *transactional, stream *link) {
				x.faults = func(request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
					if string(request.Values[0]) == "lost" {
						return nil, refused(codes.Unavailable)
					}
					return nil, nil
				}
				kept := w.errorsOf(nil)
				stream.batch(0)
				if last := stream.closed(byError); last != -1 {
					t.Errorf("last checkpoint %d", last)
				}
				told := kept.all()[0]
				if told.Action != pb.ErrorAction_ERROR_ACTION_RESTART || told.LastCheckpoint != nil || !strings.Contains(told.Message, "nobody knows") {
					t.Errorf("told %v", told)
				}
				if len(x.commits) != 0 || slices.Contains(x.calls, "again") {
					t.Errorf("commits %q, calls %q", x.commits, x.calls)
				}
			})
		})
	}
}

func TestTooMuchHeldNamesTheRemedy(t *testing.T) {
	exactly(t, lambdas(func(_ context.Context, l *lambda, record sidecar.Record) error {
		l.Produce(out("much"))
		return nil
	}, nil), func(w *world, x *transactional, stream *link) {
		calls := 0
		x.faults = func(request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
			calls++
			return played.Answered(request, pb.ProduceOutcome_PRODUCE_OUTCOME_TOO_MUCH_HELD), nil
		}
		kept := w.errorsOf(nil)
		stream.batch(0)
		stream.closed(byError)
		told := kept.all()[0]
		if told.Action != pb.ErrorAction_ERROR_ACTION_RESTART || !strings.Contains(told.Message, "too_much_held") ||
			!strings.Contains(told.Message, "checkpoints more often") || calls != 1 {
			t.Errorf("told %v after %d calls", told, calls)
		}
	})
}

func TestACommitThatBringsNothingNewLeavesTheRecordsHeld(t *testing.T) {
	exactly(t, lambdas(func(_ context.Context, l *lambda, record sidecar.Record) error {
		l.Produce(out(string(record.Value)))
		l.Checkpoint(record.Offset)
		return nil
	}, nil), func(w *world, x *transactional, stream *link) {
		first := true
		x.faults = func(request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
			if !first {
				return nil, nil
			}
			first = false
			x.held = append(x.held, "0")
			response := played.Answered(request, pb.ProduceOutcome_PRODUCE_OUTCOME_HELD)
			if request.Commit != nil {
				response.Commit = &pb.CheckpointResult{Outcome: pb.CheckpointOutcome_CHECKPOINT_OUTCOME_BEYOND_DELIVERED}
			}
			return response, nil
		}
		stream.batch(0)
		pass(time.Second)
		stream.batch(1)
		pass(time.Second)
		if len(x.commits) == 0 || strings.Join(x.visible, " ") != "0 1" {
			t.Errorf("commits %q, calls %q", x.commits, x.calls)
		}
	})
}

func TestSourcesAreAColumn(t *testing.T) {
	var sources [][]int64
	lambda := lambdas(func(_ context.Context, l *lambda, record sidecar.Record) error {
		l.Produce(sidecar.Output{Topic: "out", Source: new(record.Offset)})
		l.Produce(sidecar.Output{Topic: "out"})
		return nil
	}, nil)
	exactly(t, lambda, func(w *world, x *transactional, stream *link) {
		x.faults = func(request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
			sources = append(sources, request.Sources)
			return nil, nil
		}
		stream.batch(7)
		pass(time.Second)
		if all := fmt.Sprint(sources); all != "[[7 -1]]" && all != "[[7] []]" {
			t.Errorf("sources %s", all)
		}
	})
	play(t, lambda, func(w *world) {
		kept := w.produces(nil)
		w.ready("a", 0).batch(7)
		pass(time.Second)
		if len(kept.all()[0].Sources) != 0 {
			t.Error("sources without exactly-once")
		}
	})
}

func TestAnAbortedTransactionEndsTheLambda(t *testing.T) {
	exactly(t, lambdas(func(ctx context.Context, l *lambda, record sidecar.Record) error {
		l.Produce(out("1"))
		l.Checkpoint(record.Offset)
		<-ctx.Done()
		l.Produce(out("2"))
		return ctx.Err()
	}, func(_ context.Context, l *lambda, reason sidecar.CloseReason) error {
		if reason != sidecar.CloseError {
			t.Errorf("closed: %s", reason)
		}
		l.Checkpoint(9)
		return nil
	}), func(w *world, x *transactional, stream *link) {
		x.faults = func(request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
			stream.revoke(pb.RevokeReason_REVOKE_REASON_ABORTED, 0)
			time.Sleep(time.Second)
			response := played.Answered(request, pb.ProduceOutcome_PRODUCE_OUTCOME_FAILED)
			response.Commit = &pb.CheckpointResult{Outcome: pb.CheckpointOutcome_CHECKPOINT_OUTCOME_STALE_LEASE}
			return response, nil
		}
		kept := w.errorsOf(nil)
		stream.batch(0)
		if last := stream.closed(byRevoke); last != -1 {
			t.Errorf("last checkpoint %d", last)
		}
		if len(x.calls) != 0 || len(kept.all()) != 0 {
			t.Errorf("calls %q, errors %v with a dead lease", x.calls, kept.all())
		}
	})
}

func TestTheLastRecordsAndTheirCheckpointArriveInADrain(t *testing.T) {
	exactly(t, lambdas(func(_ context.Context, l *lambda, record sidecar.Record) error {
		l.Produce(out(string(record.Value)))
		return nil
	}, func(_ context.Context, l *lambda, _ sidecar.CloseReason) error {
		l.Produce(out("last"))
		l.Checkpoint(1)
		l.Produce(out("void"))
		return nil
	}), func(w *world, x *transactional, stream *link) {
		stream.batch(0, 1)
		pass(time.Second)
		stream.revoke(rebalance, 5*time.Second)
		stream.closed(byRevoke)
		if !slices.Equal(x.commits, []string{"1: 0 1 last"}) {
			t.Errorf("commits %q, calls %q", x.commits, x.calls)
		}
	})
}

func TestATopicThatIsNotAllowedHoldsBackTheCheckpoint(t *testing.T) {
	exactly(t, lambdas(func(_ context.Context, l *lambda, record sidecar.Record) error {
		l.Produce(sidecar.Output{Topic: "bad", Value: []byte("bad")})
		l.Produce(out("good"))
		l.Checkpoint(record.Offset)
		return nil
	}, nil), func(w *world, x *transactional, stream *link) {
		x.faults = func(request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
			if slices.Contains(request.Topics, "bad") {
				return played.Answered(request, pb.ProduceOutcome_PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED), nil
			}
			return nil, nil
		}
		kept := w.errorsOf(nil)
		stream.batch(0)
		stream.closed(byError)
		if len(x.commits) != 0 || kept.all()[0].LastCheckpoint != nil {
			t.Errorf("commits %q", x.commits)
		}
	})
}

// Whatever the order of outputs and checkpoints and the times of the calls: with each commit exactly those records are
// visible that were produced before its checkpoint was made.
func TestEachCommitHasWhatWasProducedBeforeIt(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			made, before := 0, map[int64]int{} // of each checkpoint: how many were produced before it
			var mu sync.Mutex
			exactly(t, lambdas(func(ctx context.Context, l *lambda, record sidecar.Record) error {
				for range random.IntN(4) {
					mu.Lock()
					made++
					value := fmt.Sprint(made)
					mu.Unlock()
					delivery := l.Produce(out(value))
					if random.IntN(3) == 0 {
						if _, err := delivery.Wait(ctx); err != nil {
							return err
						}
					}
				}
				if random.IntN(3) > 0 {
					mu.Lock()
					before[record.Offset] = made
					mu.Unlock()
					l.Checkpoint(record.Offset)
				}
				time.Sleep(time.Duration(random.IntN(3)*random.IntN(60)) * time.Millisecond)
				return nil
			}, nil), func(w *world, x *transactional, stream *link) {
				times := rand.New(rand.NewPCG(seed, 1))
				chance := func(n int) bool {
					mu.Lock()
					defer mu.Unlock()
					return times.IntN(n) == 0
				}
				x.delay = func() time.Duration {
					if chance(2) {
						return time.Millisecond
					}
					return 100 * time.Millisecond
				}
				x.faults = func(request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
					if chance(5) {
						return played.Answered(request, pb.ProduceOutcome_PRODUCE_OUTCOME_BUSY), nil
					} else if len(request.Values) > 1 && chance(5) {
						return nil, refused(codes.ResourceExhausted)
					}
					return nil, nil
				}
				w.remote.OnCheckpoint = func(request *pb.CheckpointRequest) (*pb.CheckpointResponse, error) {
					if chance(6) {
						return nil, refused(codes.Unavailable)
					}
					response, _ := x.checkpoint(request)
					if chance(6) {
						return nil, errors.New("the answer is lost")
					}
					return response, nil
				}
				x.onCommit = func(offset int64, visible []string) {
					mu.Lock()
					defer mu.Unlock()
					if want, any := before[offset]; !any || len(visible) != want || want > 0 && visible[want-1] != fmt.Sprint(want) {
						t.Errorf("commit %d: %d visible, want %d", offset, len(visible), want)
					}
				}
				for offset := range int64(40) {
					stream.batch(offset)
				}
				pass(time.Minute)
				highest := int64(-1)
				for offset := range before {
					highest = max(highest, offset)
				}
				if x.committed != highest {
					t.Errorf("committed %d, want %d", x.committed, highest)
				}
			})
		})
	}
}

func TestACheckpointThatFollowsAtOnceTravelsWithItsRecord(t *testing.T) {
	exactly(t, lambdas(func(_ context.Context, l *lambda, record sidecar.Record) error {
		l.Produce(out(string(record.Value)))
		l.Checkpoint(record.Offset)
		time.Sleep(time.Second)
		return nil
	}, nil), func(w *world, x *transactional, stream *link) {
		stream.batch(0, 1)
		pass(time.Minute)
		if !slices.Equal(x.calls, []string{"0 | 0", "1 | 1"}) {
			t.Errorf("calls %q", x.calls)
		}
	})
}
