package sidecar

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"kafka-sidecar.example/sdk_go/internal/wire"
	pb "kafka-sidecar.example/sdk_go/protocol"
)

// Shares of the drain timeout, after which the next step begins.
const (
	partitionShare = 0.8
	leasesShare    = 0.85
	disposeShare   = 0.95
)

// client serves one lambda: it keeps one spare stream open, and runs a lease for each that gets a partition.
//
// run is its goroutine: it alone opens streams, so there is never more than one spare.
type client struct {
	name    string
	factory Factory
	options *options
	sidecar wire.Sidecar
	log     *slog.Logger
	busy    func(int)
	sender  *sender
	offer   *pb.LambdaFrame
	state   said

	welcomed bool
	loaded   bool
	settings Settings
	object   string // the settings in the first Welcome

	mu     sync.Mutex
	leases map[*lease]struct{}
	ended  chan struct{} // closed, and made anew, when a lease is over
}

func newClient(name string, factory Factory, options *options, sidecar wire.Sidecar) *client {
	made := &client{
		name: name, factory: factory, options: options, sidecar: sidecar,
		log: options.log.With("lambda", name), busy: func(int) {}, offer: offerOf(name, options.version),
		leases: map[*lease]struct{}{}, ended: make(chan struct{}),
	}
	if watcher, ok := sidecar.(wire.Watcher); ok {
		made.busy = watcher.Busy
	}
	made.sender = newSender(sidecar, made.log, made.busy)
	made.state = said{log: made.log}
	return made
}

// committedCapability is that of Committed frames.
const committedCapability = "committed"

func offerOf(name, version string) *pb.LambdaFrame {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return &pb.LambdaFrame{Frame: &pb.LambdaFrame_Offer{Offer: &pb.Offer{
		LambdaName:      name,
		ProcessId:       hex.EncodeToString(id),
		Instance:        clip(fmt.Sprintf("%s:%d", host, os.Getpid()), maxName),
		ProtocolVersion: 1,
		Client:          &pb.Client{Name: "kafka-sidecar-sdk-go", Version: Version, Language: clip("go "+runtime.Version(), maxName)},
		MaxMessageBytes: wire.MaxMessageBytes,
		Pid:             uint32(os.Getpid()),
		LambdaVersion:   clip(version, maxName),
		Capabilities:    []string{committedCapability, "exactly-once"},
	}}}
}

// run serves until ctx is done, and drains.
func (c *client) run(ctx context.Context) error {
	sending, stopSending := context.WithCancel(context.Background())
	sent := make(chan struct{})
	go func() { defer close(sent); c.sender.run(sending) }()
	err := c.keepOffering(ctx)
	late := c.drain()
	stopSending()
	<-sent
	if err == nil && len(late) > 0 {
		err = &UnfinishedError{late}
	}
	return err
}

// drain ends all leases at the same time, then disposes. It returns what did not end within the drain timeout.
func (c *client) drain() (late []string) {
	end := ending{began: time.Now(), time: c.options.drain}
	leases := c.running()
	if len(leases) > 0 {
		c.log.Info("drains", "partitions", len(leases))
	}
	for _, l := range leases {
		l.stop()
	}
	for _, l := range leases {
		if !within(l.done, end.left(leasesShare)) {
			what := l.name() + ": " + l.running()
			c.log.Error("does not end within the drain timeout", "what", what)
			late = append(late, what)
		}
	}
	disposer, ok := c.factory.(Disposer)
	if !ok || !c.loaded {
		return late
	}
	ctx, cancel := context.WithTimeout(context.Background(), end.left(disposeShare))
	defer cancel()
	disposed := make(chan struct{})
	go func() {
		defer close(disposed)
		if err := guard(func() error { return disposer.Dispose(ctx) }); err != nil {
			c.log.Error("Dispose failed", "error", printable(err.Error()))
		}
	}()
	if !within(disposed, end.left(1)) {
		c.log.Error("Dispose does not end within the drain timeout")
		late = append(late, "Dispose")
	}
	return late
}

// load prepares the factory, once, with the settings of the first Welcome.
func (c *client) load(ctx context.Context, welcome *pb.Welcome) error {
	if c.loaded {
		if welcome.SettingsJson != c.object {
			c.object = welcome.SettingsJson
			c.log.Warn("the sidecar has other settings now: restart this process to use them")
		}
		return nil
	}
	settings, err := layered(welcome.SettingsJson, c.options.environment, c.options.settings)
	if err != nil {
		return &stopError{err}
	}
	c.settings, c.object = settings, welcome.SettingsJson
	if loader, ok := c.factory.(Loader); ok {
		if err := c.loadBy(ctx, loader); err != nil {
			return &stopError{fmt.Errorf("loading failed: %w", err)}
		}
	}
	c.loaded = true
	return nil
}

// loadBy calls Load. When ctx ends, Load has as long as a drain may take.
func (c *client) loadBy(ctx context.Context, loader Loader) error {
	loaded := make(chan error, 1)
	go func() { loaded <- guard(func() error { return loader.Load(ctx, c.settings) }) }()
	select {
	case err := <-loaded:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-loaded:
		return err
	case <-time.After(c.options.drain):
		return &UnfinishedError{[]string{"Load"}}
	}
}

// begin runs a lease on a stream that got a partition.
func (c *client) begin(assigned *pb.Assigned, welcome *pb.Welcome, stream wire.Stream, hangUp context.CancelFunc) {
	told := terms{
		window: int(welcome.WindowMessages), windowBytes: welcome.WindowBytes, maxState: int(welcome.MaxStateBytes),
		exactlyOnce: welcome.Guarantee == pb.Guarantee_GUARANTEE_EXACTLY_ONCE,
		tellsCommit: slices.Contains(welcome.Capabilities, committedCapability),
	}
	if told.window == 0 {
		told.window = 1000
	}
	if told.windowBytes == 0 {
		told.windowBytes = 16 << 20
	}
	l := newLease(host{
		sidecar: c.sidecar, limits: &c.sender.limits, sender: c.sender, factory: c.factory, terms: told,
		drain: time.Duration(float64(c.options.drain) * partitionShare), busy: c.busy,
	}, assigned, stream, hangUp, c.log)
	var after []*lease
	c.mu.Lock()
	for old := range c.leases {
		if l.overlaps(old) {
			after = append(after, old)
		}
	}
	c.leases[l] = struct{}{}
	c.mu.Unlock()
	partition := &Partition{
		lease: l, settings: c.settings, start: assigned.StartOffset, attempt: int(assigned.Attempt),
		state: append([]byte(nil), assigned.State...), // nil if it is empty
	}
	go func() {
		l.run(partition, after)
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.leases, l)
		close(c.ended)
		c.ended = make(chan struct{})
	}()
}

func (c *client) running() []*lease {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]*lease, 0, len(c.leases))
	for l := range c.leases {
		all = append(all, l)
	}
	return all
}

// stopError ends the client.
type stopError struct{ error }

func (e *stopError) Unwrap() error { return e.error }

// errNoWelcome ends a stream on which no Welcome came.
var errNoWelcome = errors.New("no Welcome came within 30 s")
