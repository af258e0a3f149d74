package sidecar_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	sidecar "kafka-sidecar.example/sdk_go"
	pb "kafka-sidecar.example/sdk_go/protocol"
)

// stating is a lambda whose checkpoints have a state that says their offset.
func stating(_ context.Context, l *lambda, record sidecar.Record) error {
	return l.CheckpointState(record.Offset, fmt.Appendf(nil, "s%d", record.Offset))
}

// keeping is the next stream once it has this partition, of a sidecar that keeps states of 4 bytes.
func (w *world) keeping(assigned *pb.Assigned) *link {
	w.t.Helper()
	stream := w.stream()
	stream.offer()
	stream.welcome(&pb.Welcome{MaxStateBytes: 4, Capabilities: []string{"committed"}})
	stream.next("Available")
	assigned.Topic, assigned.StartOffset, assigned.Attempt = "t", new(int64(0)), 1
	stream.Say(&pb.HostFrame{Frame: &pb.HostFrame_Assigned{Assigned: assigned}})
	stream.next("Ready")
	return stream
}

// states are the offsets with their states of all entries of all calls: 3=s3, and 3 alone for an entry without.
func states(kept *calls[*pb.CheckpointRequest]) (all []string) {
	for _, request := range kept.all() {
		for _, entry := range request.Entries {
			if entry.Offset != nil {
				all = append(all, said(entry))
			}
		}
	}
	return all
}

func said(entry *pb.CheckpointEntry) string {
	if entry == nil {
		return "none"
	} else if entry.State == nil {
		return fmt.Sprint(entry.GetOffset())
	}
	return fmt.Sprintf("%d=%s", entry.GetOffset(), entry.State)
}

func TestAStateIsHandedBackAndBounded(t *testing.T) {
	var got []byte
	var errs []string
	play(t, lambdas(func(_ context.Context, l *lambda, record sidecar.Record) error {
		got = l.State()
		state := []byte("1234")
		errs = append(errs, fmt.Sprint(l.CheckpointState(record.Offset, []byte("12345"))), fmt.Sprint(l.CheckpointState(record.Offset, state)))
		copy(state, "xxxx") // it is the caller's again
		return nil
	}, nil), func(w *world) {
		kept := w.checkpoints(nil)
		w.keeping(&pb.Assigned{Lease: "a", State: []byte("before")}).batch(0)
		pass(time.Second)
		if told := states(kept); !slices.Equal(told, []string{"0=1234"}) {
			t.Errorf("told %v", told)
		}
	})
	if string(got) != "before" {
		t.Errorf("state %q", got)
	}
	if want := "a state of 5 bytes is not kept: this sidecar takes at most 4; keep the rest elsewhere"; !slices.Equal(errs, []string{want, "<nil>"}) {
		t.Errorf("%q", errs)
	}
}

func TestASidecarThatKeepsNoStateIsNamed(t *testing.T) {
	var err error
	play(t, lambdas(func(ctx context.Context, l *lambda, record sidecar.Record) error {
		if err := l.CheckpointState(record.Offset, nil); err != nil {
			t.Error(err)
		}
		err = l.CheckpointState(record.Offset, []byte{})
		return nil
	}, nil), func(w *world) {
		w.ready("a", 0).batch(0)
		pass(time.Second)
	})
	var state *sidecar.StateError
	if !errors.As(err, &state) || state.Most != 0 || !strings.Contains(err.Error(), "keeps no state") {
		t.Errorf("%v", err)
	}
}

func TestAStateIsToldOnceAndAgainAfterAFailure(t *testing.T) {
	play(t, lambdas(func(_ context.Context, l *lambda, record sidecar.Record) error {
		var state []byte
		switch record.Offset {
		case 0:
			state = []byte("a")
		case 3:
			state = []byte{}
		}
		return l.CheckpointState(record.Offset, state)
	}, nil), func(w *world) {
		kept := w.checkpoints(func(n int, _ *pb.CheckpointEntry) (*pb.CheckpointResult, error) {
			if n == 1 {
				return nil, refused(codes.Unavailable)
			}
			return &pb.CheckpointResult{Outcome: pb.CheckpointOutcome_CHECKPOINT_OUTCOME_ACCEPTED}, nil
		})
		stream := w.keeping(&pb.Assigned{Lease: "a"})
		for offset := range int64(5) {
			stream.batch(offset)
			pass(2 * time.Second)
		}
		if told := states(kept); !slices.Equal(told, []string{"0=a", "0=a", "1", "2", "3=", "4"}) {
			t.Errorf("told %v", told)
		}
	})
}

func TestAStateGoesWithNoLowerOffset(t *testing.T) {
	play(t, lambdas(func(_ context.Context, l *lambda, record sidecar.Record) error {
		if record.Offset == 0 { // as a lambda with a store of its own, that knows more than has come
			for _, offset := range []int64{0, 2, 4, 8} {
				if err := l.CheckpointState(offset, fmt.Appendf(nil, "s%d", offset)); err != nil {
					return err
				}
			}
		}
		return nil
	}, nil), func(w *world) {
		kept := w.checkpoints(nil)
		stream := w.keeping(&pb.Assigned{Lease: "a"})
		for _, offset := range []int64{0, 1, 3, 7, 9} {
			stream.batch(offset)
			pass(time.Second)
		}
		if told := states(kept); !slices.Equal(told, []string{"0=s0", "1", "3=s2", "7=s4", "8=s8"}) {
			t.Errorf("told %v", told)
		}
	})
}

func TestAStateTravelsInClosedAndError(t *testing.T) {
	for name, fails := range map[string]bool{"closed": false, "error": true} {
		t.Run(name, func(t *testing.T) {
			play(t, lambdas(func(ctx context.Context, l *lambda, record sidecar.Record) error {
				if fails && record.Offset == 2 {
					return errors.New("no")
				}
				return stating(ctx, l, record)
			}, nil), func(w *world) {
				w.checkpoints(func(int, *pb.CheckpointEntry) (*pb.CheckpointResult, error) { return nil, refused(codes.Unavailable) })
				kept := w.errorsOf(nil)
				stream := w.keeping(&pb.Assigned{Lease: "a"})
				stream.batch(0, 1)
				pass(time.Second)
				var last *pb.CheckpointEntry
				if fails {
					stream.batch(2)
					stream.closed(byError)
					last = kept.all()[0].LastCheckpoint
				} else {
					stream.revoke(rebalance, time.Second)
					last = stream.next("Closed").GetClosed().LastCheckpoint
				}
				if said(last) != "1=s1" {
					t.Errorf("last checkpoint %s", said(last))
				}
			})
		})
	}
}

func TestAStateWaitsWithItsCheckpoint(t *testing.T) {
	play(t, lambdas(func(ctx context.Context, l *lambda, record sidecar.Record) error {
		if record.Offset == 1 {
			l.Produce(sidecar.Output{Topic: "out"})
		}
		return stating(ctx, l, record)
	}, nil), func(w *world) {
		kept := w.checkpoints(nil)
		release := make(chan struct{})
		w.produces(func(_ int, request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
			<-release
			return written(request), nil
		})
		w.keeping(&pb.Assigned{Lease: "a"}).batch(0, 1, 2)
		pass(time.Second)
		close(release)
		pass(time.Second)
		if told := states(kept); !slices.Equal(told, []string{"0=s0", "2=s2"}) {
			t.Errorf("told %v", told)
		}
	})
}

func TestCommittedWaitsForTheFrame(t *testing.T) {
	var err error
	over := false
	play(t, lambdas(func(ctx context.Context, l *lambda, record sidecar.Record) error {
		l.Checkpoint(record.Offset)
		go func() {
			err = l.Committed(ctx, 1)
			over = true
		}()
		return nil
	}, nil), func(w *world) {
		stream := w.keeping(&pb.Assigned{Lease: "a"})
		stream.batch(1)
		stream.committed(0)
		pass(time.Minute)
		if over {
			t.Fatal("a checkpoint that is accepted is not yet committed")
		}
		stream.committed(5)
		pass(0)
		if !over || err != nil {
			t.Errorf("over %t, %v", over, err)
		}
	})
}

func TestCommittedFailsWithTheLease(t *testing.T) {
	var errs []string
	play(t, lambdas(func(ctx context.Context, l *lambda, record sidecar.Record) error {
		short, cancel := context.WithTimeoutCause(ctx, time.Second, errors.New("too long"))
		defer cancel()
		errs = append(errs, fmt.Sprint(l.Committed(short, 9)))
		go func() { errs = append(errs, fmt.Sprint(l.Committed(context.Background(), 9))) }()
		return nil
	}, nil), func(w *world) {
		stream := w.keeping(&pb.Assigned{Lease: "a"})
		stream.batch(0)
		pass(2 * time.Second)
		stream.breakOff()
		pass(time.Second)
	})
	if !slices.Equal(errs, []string{"too long", "offset 9 is not known to be committed: the lease has ended"}) {
		t.Errorf("%q", errs)
	}
}

func TestASidecarThatCannotTellIsNamed(t *testing.T) {
	var err error
	play(t, lambdas(func(ctx context.Context, l *lambda, record sidecar.Record) error {
		err = l.Committed(ctx, 9)
		return nil
	}, nil), func(w *world) {
		stream := w.spare()
		stream.assign("a", 0)
		stream.next("Ready")
		stream.batch(0)
		pass(time.Second)
	})
	var not *sidecar.NotCommittedError
	if !errors.As(err, &not) || not.Offset != 9 || !strings.Contains(err.Error(), "cannot tell") {
		t.Errorf("%v", err)
	}
}

func TestSignsOfLifeAreOneASecond(t *testing.T) {
	paused(t, func(_ *world, stream *link, lambda *pausing) {
		began := time.Now()
		lambda.Progress("first")
		for i := range 9 {
			lambda.Progress(fmt.Sprint(i))
			time.Sleep(300 * time.Millisecond)
		}
		lambda.Progress("\xff" + strings.Repeat("x", 300))
		pass(time.Minute)
		var texts []string
		for len(stream.frames) > 0 {
			texts = append(texts, stream.next("Progress").GetProgress().Text)
		}
		if len(texts) != 4 || !slices.Equal(texts[:3], []string{"first", "3", "6"}) || len(texts[3]) != 256 {
			t.Errorf("%q in %s", texts, time.Since(began))
		}
	})
}

func TestASignOfLifeOfCreateComesAfterReady(t *testing.T) {
	factory := sidecar.FactoryFunc(func(_ context.Context, partition *sidecar.Partition) (sidecar.Lambda, error) {
		partition.Progress("made")
		return &lambda{Partition: partition}, nil
	})
	play(t, factory, func(w *world) {
		stream := w.ready("a", 0)
		stream.next("Progress")
		stream.revoke(rebalance, time.Second)
		stream.closed(byRevoke)
	})
}

func TestLanesOfOnePartitionRunBesideEachOther(t *testing.T) {
	release := make(chan struct{})
	play(t, lambdas(func(_ context.Context, l *lambda, _ sidecar.Record) error {
		if l.Lane() == 3 {
			<-release
		}
		l.Checkpoint(int64(l.Lane() * l.Lanes()))
		return nil
	}, nil), func(w *world) {
		release = make(chan struct{})
		kept := w.checkpoints(nil)
		lane := func(stream *link, lease string, lane, lanes uint32) *link {
			stream.Say(&pb.HostFrame{Frame: &pb.HostFrame_Assigned{Assigned: &pb.Assigned{
				Lease: lease, Topic: "t", Partition: 0, Lane: lane, Lanes: lanes, StartOffset: new(int64(0)),
			}}})
			return stream
		}
		first := lane(w.spare(), "a", 3, 4)
		first.next("Ready")
		first.batch(0)
		second := lane(w.spareAgain(), "b", 2, 4)
		second.next("Ready") // although the other lane's handler runs
		second.batch(0, 9)
		pass(time.Second)
		if told := offsets(kept); !slices.Equal(told, []int64{8}) {
			t.Errorf("checkpoints %v", told)
		}
		first.revoke(rebalance, time.Second)
		first.closed(byRevoke)
		first.End(errEOF)
		for name, other := range map[string]*link{
			"the same lane":    lane(w.spareAgain(), "c", 3, 4),
			"with other lanes": lane(w.spareAgain(), "d", 0, 2),
		} {
			other.silent()
			if broken, _ := other.Over(); broken {
				t.Errorf("%s: broken", name)
			}
		}
		close(release)
		synctest.Wait()
	})
}

func TestADeadLeaseHasNoCheckpoint(t *testing.T) {
	play(t, lambdas(func(ctx context.Context, l *lambda, record sidecar.Record) error {
		l.Checkpoint(record.Offset)
		return nil
	}, func(_ context.Context, l *lambda, reason sidecar.CloseReason) error {
		if reason != sidecar.CloseError {
			t.Errorf("closed: %s", reason)
		}
		l.Checkpoint(1)
		return nil
	}), func(w *world) {
		kept := w.checkpoints(func(int, *pb.CheckpointEntry) (*pb.CheckpointResult, error) { return nil, refused(codes.Unavailable) })
		stream := w.ready("a", 0)
		stream.batch(0)
		pass(time.Second)
		before := len(kept.all())
		stream.revoke(pb.RevokeReason_REVOKE_REASON_ABORTED, 0)
		if last := stream.closed(byRevoke); last != -1 || len(kept.all()) != before {
			t.Errorf("last checkpoint %d", last)
		}
	})
}
