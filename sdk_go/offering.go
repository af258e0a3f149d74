package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc/status"

	"kafka-sidecar.example/sdk_go/internal/wire"
	pb "kafka-sidecar.example/sdk_go/protocol"
)

const (
	welcomeTimeout    = 30 * time.Second
	minBackoff        = 100 * time.Millisecond
	maxBackoff        = 2 * time.Second // a sidecar that comes back is found within this time
	minRefusedBackoff = 5 * time.Second
	maxRefusedBackoff = 30 * time.Second
	stable            = time.Second // a stream that lived so long worked: the retry after it is immediate again
	settleTime        = 100 * time.Millisecond
	logAgain          = time.Minute
	logChanges        = 5 * time.Second
)

// keepOffering keeps one spare stream until ctx is done.
//
//	offer ──▶ Welcome ──▶ Load (once) ──▶ Available ──▶ Assigned ──▶ a lease, and the next offer
//	  ▲                                      │
//	  └──── back-off ◀── the stream broke ───┘
func (c *client) keepOffering(ctx context.Context) error {
	failures := 0
	for c.waitForRoom(ctx) {
		began := time.Now()
		err := c.offerOnce(ctx)
		if err == nil {
			failures = 0
			continue
		}
		var stop *stopError
		var unfinished *UnfinishedError
		if ctx.Err() != nil && !errors.As(err, &unfinished) {
			return nil
		} else if errors.As(err, &stop) {
			return stop.error
		}
		if time.Since(began) > stable {
			failures = 0
		}
		wait, err := c.backoff(err, failures)
		if err != nil {
			return err
		}
		failures = min(failures+1, 16)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		c.oldLeasesClosed(ctx)
	}
	return nil
}

// backoff says how long to wait before the next offer; its error says that no offer can help.
func (c *client) backoff(err error, failures int) (time.Duration, error) {
	if wire.Refuses(err) {
		known := status.Convert(err)
		refused := &RefusedError{known.Code(), known.Message()}
		if !c.welcomed {
			return 0, refused
		}
		c.state.say(slog.LevelWarn, "refused; asking again in case the config changes", refused.Error())
		return jittered(min(maxRefusedBackoff, minRefusedBackoff<<failures)), nil
	}
	why, never := c.why(err)
	if never && !c.welcomed {
		return 0, &SettingsError{"TLS with the sidecar at " + printable(c.options.endpoint.Address), why}
	}
	c.state.waits(c.options.endpoint.Address, why)
	if failures == 0 {
		return 0, nil // usually the sidecar was restarted, or an idle connection was cut
	}
	return jittered(min(maxBackoff, minBackoff<<(failures-1))), nil
}

// why says why the sidecar cannot be reached and what helps, and whether only other settings can help.
func (c *client) why(err error) (text string, never bool) {
	text = reasonOf(err)
	switch encrypted := c.options.endpoint.TLS != nil; {
	case encrypted && strings.Contains(text, "x509: "):
		return text + "; KAFKA_SIDECAR_CA names the authority that signed the sidecar's certificate", true
	case encrypted && strings.Contains(text, "first record does not look like a TLS handshake"):
		return text + "; the sidecar does not speak TLS: leave out WithTLS and KAFKA_SIDECAR_CA, _CERT, _KEY", true
	case encrypted && strings.Contains(text, "remote error: tls"):
		return text + "; where server.tls.client_ca is set, KAFKA_SIDECAR_CERT and KAFKA_SIDECAR_KEY are needed", false
	case !encrypted && (strings.Contains(text, "server preface") || strings.Contains(text, "connection reset")):
		return text + "; if server.tls of the sidecar's config is set, KAFKA_SIDECAR_CA is needed", false
	case strings.Contains(text, "connection error"):
		return text + "; does the sidecar run? KAFKA_SIDECAR_ADDRESS says where to dial", false
	}
	return text, false
}

// waitForRoom waits until this process may take one more partition; false: ctx is done.
func (c *client) waitForRoom(ctx context.Context) bool {
	for ctx.Err() == nil {
		c.mu.Lock()
		ended, room := c.ended, c.options.maxPartitions <= 0 || len(c.leases) < c.options.maxPartitions
		c.mu.Unlock()
		if room {
			return true
		}
		select {
		case <-ended:
		case <-ctx.Done():
		}
	}
	return false
}

// oldLeasesClosed waits, after the spare stream broke, until the lambdas whose streams broke too are closed: a lease
// fences checkpoints, but not what a handler still writes to a database.
//
// The streams of one connection break at the same moment, but each lease's own goroutine notices it. So a lease first
// gets a moment to notice. Code that ignores the end of its context is waited for only as long as a drain takes; also
// after that the partition's next lambda waits for the old one.
func (c *client) oldLeasesClosed(ctx context.Context) {
	settled := time.Now().Add(settleTime)
	enough, cancel := context.WithTimeout(ctx, c.options.drain)
	defer cancel()
	for _, l := range c.running() {
		if !within(l.ended, time.Until(settled)) {
			continue // its stream lives
		}
		select {
		case <-l.done:
		case <-enough.Done():
			return
		}
	}
}

// offerOnce keeps one spare stream until it gets a partition.
func (c *client) offerOnce(ctx context.Context) error {
	streamCtx, hangUp := context.WithCancelCause(context.WithoutCancel(ctx))
	spare := context.AfterFunc(ctx, func() { hangUp(context.Canceled) })
	taken := false
	defer func() {
		if !taken {
			spare()
			hangUp(nil)
		}
	}()
	stream, err := c.sidecar.Serve(streamCtx)
	if err != nil {
		return err
	}
	available := &pb.LambdaFrame{Frame: &pb.LambdaFrame_Available{Available: &pb.Available{}}}
	// What Send returns is looked at nowhere: when the stream is over, Recv tells why.
	_ = stream.Send(c.offer)
	early := c.loaded
	if early { // saves a round trip: the sidecar reads it when it has written its Welcome
		_ = stream.Send(available)
	}
	welcome, err := c.welcome(stream, streamCtx, hangUp)
	if err != nil {
		return err
	}
	if err := c.load(ctx, welcome); err != nil {
		return err
	}
	if !early {
		_ = stream.Send(available)
	}
	frame, err := receive(stream)
	if err != nil {
		return err
	}
	assigned := frame.GetAssigned()
	if assigned == nil {
		return fmt.Errorf("%T came before Assigned", frame.Frame)
	}
	if !spare() {
		return ctx.Err() // the stream breaks before Ready: the partition waits for another process
	}
	taken = true
	c.begin(assigned, welcome, stream, func() { hangUp(nil) })
	return nil
}

// welcome waits for the Welcome.
func (c *client) welcome(stream wire.Stream, ctx context.Context, hangUp context.CancelCauseFunc) (*pb.Welcome, error) {
	timer := time.AfterFunc(welcomeTimeout, func() { hangUp(errNoWelcome) })
	defer timer.Stop()
	frame, err := receive(stream)
	if errors.Is(context.Cause(ctx), errNoWelcome) {
		return nil, errNoWelcome
	} else if err != nil {
		return nil, err
	}
	welcome := frame.GetWelcome()
	if welcome == nil {
		return nil, fmt.Errorf("%T came before Welcome", frame.Frame)
	}
	c.welcomed = true
	c.state.say(slog.LevelInfo, "connected", "sidecar "+printable(welcome.SidecarVersion)+" at "+printable(c.options.endpoint.Address))
	c.sender.limits.Store(toldLimits(welcome.Limits))
	return welcome, nil
}

// receive returns the next frame of a kind that is known here.
func receive(stream wire.Stream) (*pb.HostFrame, error) {
	for {
		frame, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the sidecar ended the stream")
		}
		if err != nil || frame.Frame != nil { // nil: of a newer contract, or the empty frame of a spare stream
			return frame, err
		}
	}
}

// said logs how it stands with the sidecar: when that changes, and now and then while it stays bad.
type said struct {
	log  *slog.Logger
	last string
	at   time.Time
}

func (s *said) say(level slog.Level, what, state string) {
	if state != s.last {
		s.last, s.at = state, time.Time{}
		s.log.Log(context.Background(), level, what, "sidecar", state)
	}
}

func (s *said) waits(address, why string) {
	pause := logChanges
	if why == s.last {
		pause = logAgain
	}
	if time.Since(s.at) >= pause {
		s.last, s.at = why, time.Now()
		s.log.Warn("waits for the sidecar", "address", printable(address), "reason", why)
	}
}
