package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sidecar "kafka-sidecar.example/sdk_go"
	"kafka-sidecar.example/sdk_go/sidecartest"
)

// site is an endpoint whose answers the test decides.
type site struct {
	*httptest.Server
	mu       sync.Mutex
	answer   func(w http.ResponseWriter, value string, seen int)
	seen     map[string]int // how often each value came
	order    []string
	underWay int
	most     int
}

func newSite(t *testing.T, answer func(w http.ResponseWriter, value string, seen int)) *site {
	s := &site{answer: answer, seen: map[string]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has given up
	}
	value := string(body)
	s.mu.Lock()
	s.seen[value]++
	seen, answer := s.seen[value], s.answer
	s.order = append(s.order, r.Header.Get("Idempotency-Key"))
	s.underWay++
	s.most = max(s.most, s.underWay)
	s.mu.Unlock()
	answer(w, value, seen)
	s.mu.Lock()
	s.underWay--
	s.mu.Unlock()
}

func (s *site) answers(answer func(w http.ResponseWriter, value string, seen int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *site) times(value string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[value]
}

func ok(http.ResponseWriter, string, int) {}

func start(t *testing.T, s *site, more map[string]any) *sidecartest.Fake {
	settings := map[string]any{"url": s.URL, "backoff_ms": 1, "attempts": 3}
	for name, value := range more {
		settings[name] = value
	}
	return sidecartest.Start(t, &hooks{}, sidecartest.Settings(settings), sidecartest.Partition("t", 2))
}

func TestTheCheckpointFollowsTheOldestRequest(t *testing.T) {
	release, last := make(chan struct{}), make(chan struct{})
	s := newSite(t, func(_ http.ResponseWriter, value string, _ int) {
		switch value {
		case "slow":
			<-release
		case "c":
			close(last)
		}
	})
	fake := start(t, s, nil)
	fake.Feed("a", "slow", "b", "c")
	fake.AwaitCheckpoint(0)
	<-last
	fake.Settle()
	if got, _ := fake.Checkpoint(); got != 0 {
		t.Errorf("checkpoint %d, while record 1 is under way", got)
	}
	close(release)
	fake.AwaitCheckpoint(3)
}

func TestRequestsAreBounded(t *testing.T) {
	full, arrived := make(chan struct{}), make(chan struct{}, 100)
	s := newSite(t, func(http.ResponseWriter, string, int) {
		arrived <- struct{}{}
		<-full
	})
	fake := start(t, s, map[string]any{"in_flight": 3})
	go func() {
		for range 3 {
			<-arrived
		}
		close(full)
	}()
	fake.Feed(slices.Repeat([]string{"x"}, 20)...)
	fake.AwaitCheckpoint(19)
	if s.most > 3 {
		t.Errorf("%d requests at a time", s.most)
	}
}

func TestAFailureThatPassesIsTriedAgain(t *testing.T) {
	s := newSite(t, func(w http.ResponseWriter, _ string, seen int) {
		if seen < 3 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader([]int{0, http.StatusServiceUnavailable, http.StatusTooManyRequests}[seen])
		}
	})
	fake := start(t, s, nil)
	fake.Feed("a")
	fake.AwaitCheckpoint(0)
	if want := []string{"t/2/0", "t/2/0", "t/2/0"}; !slices.Equal(s.order, want) {
		t.Errorf("requests %v", s.order)
	}
	if told := fake.Errors(); len(told) != 0 {
		t.Errorf("told %v", told)
	}
}

func TestAnEndpointThatIsDownPausesThePartition(t *testing.T) {
	down := func(w http.ResponseWriter, value string, _ int) {
		if value != "a" {
			w.WriteHeader(http.StatusBadGateway)
		}
	}
	s := newSite(t, down)
	fake := start(t, s, nil)
	fake.Feed("a", "b", "c", "d")
	if reason := fake.AwaitPause(); !strings.Contains(reason, "502") {
		t.Errorf("reason %q", reason)
	}
	fake.AwaitCheckpoint(0)
	fake.Resume() // a trial, which fails: only the first record is tried
	before := s.times("d")
	fake.AwaitPause()
	if s.times("d") != before {
		t.Error("the trial was not alone")
	}
	s.answers(ok)
	fake.Resume()
	fake.AwaitCheckpoint(3)
	if got := fake.Checkpoints(); !slices.IsSorted(got) {
		t.Errorf("checkpoints %v", got)
	}
	if told := fake.Errors(); len(told) != 0 {
		t.Errorf("told %v", told)
	}
}

func TestALongRetryAfterPausesAtOnce(t *testing.T) {
	s := newSite(t, func(w http.ResponseWriter, _ string, _ int) {
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	fake := start(t, s, map[string]any{"attempts": 1000})
	fake.Feed("a")
	fake.AwaitPause()
	if s.times("a") != 1 {
		t.Errorf("%d requests", s.times("a"))
	}
}

func TestARecordThatIsRejectedIsCritical(t *testing.T) {
	s := newSite(t, func(w http.ResponseWriter, value string, _ int) {
		if value == "bad" {
			http.Error(w, "no such\x1b[31m thing", http.StatusUnprocessableEntity)
		}
	})
	fake := start(t, s, nil)
	fake.Feed("a")
	fake.AwaitCheckpoint(0)
	fake.Feed("bad")
	fake.AwaitEnd()
	told := fake.Errors()
	if len(told) != 1 || told[0].Action != sidecartest.Critical || *told[0].Offset != 1 || strings.Contains(told[0].Message, "\x1b") {
		t.Errorf("told %+v", told)
	}
	if got, _ := fake.Checkpoint(); got != 0 {
		t.Errorf("checkpoint %d", got)
	}
}

func TestTheEndWaitsForRequests(t *testing.T) {
	arrived := make(chan struct{})
	s := newSite(t, func(http.ResponseWriter, string, int) {
		close(arrived)
		time.Sleep(50 * time.Millisecond) // as a slow endpoint: Stop begins meanwhile
	})
	fake := start(t, s, nil)
	fake.Feed("a")
	<-arrived
	if err := fake.Stop(); err != nil {
		t.Error(err)
	}
	if got, any := fake.Checkpoint(); !any || got != 0 {
		t.Errorf("checkpoint %d (%t)", got, any)
	}
}

func TestSettingsAreChecked(t *testing.T) {
	for _, bad := range []string{"", "ftp://x", "https://", "://"} {
		err := serveWith(t, map[string]any{"url": bad})
		if err == nil || !strings.Contains(err.Error(), "url") {
			t.Errorf("url %q: %v", bad, err)
		}
	}
}

// serveWith loads settings as the SDK does, without a sidecar that would answer.
func serveWith(t *testing.T, settings map[string]any) error {
	t.Helper()
	var given sidecar.Settings
	loaded := make(chan error, 1)
	capture := &capturing{func(s sidecar.Settings) { given = s; loaded <- nil }}
	fake := sidecartest.Start(t, capture, sidecartest.Settings(settings))
	<-loaded
	if err := fake.Stop(); err != nil {
		t.Fatal(err)
	}
	return (&hooks{}).Load(t.Context(), given)
}

type capturing struct{ take func(sidecar.Settings) }

func (c *capturing) Load(_ context.Context, settings sidecar.Settings) error {
	c.take(settings)
	return nil
}

func (c *capturing) Create(context.Context, *sidecar.Partition) (sidecar.Lambda, error) {
	return nothing{}, nil
}

type nothing struct{}

func (nothing) Handle(context.Context, sidecar.Record) error { return nil }

func TestTheRateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit, began := newLimiter(10), time.Now()
		for range 31 {
			if err := limit.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("31 requests in %s", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := limit.wait(ctx); err == nil {
			t.Error("waits although nobody wants it any more")
		}
	})
}

func TestRetryAfterIsRead(t *testing.T) {
	now := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "3": 3 * time.Second, "-3": 0, "soon": 0, "999999999": maxRetryAfter,
		"Wed, 01 Jan 2025 00:00:07 GMT": 7 * time.Second, "Wed, 01 Jan 2020 00:00:07 GMT": 0,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("%q: %s", header, got)
		}
	}
}

func TestTheWindow(t *testing.T) {
	var w window
	for _, offset := range []int64{3, 5, 9} {
		w.begin(offset)
	}
	got := fmt.Sprint(w.done(5), w.first(), w.done(3), w.first(), w.done(9))
	if got != "-1 3 5 9 9" {
		t.Error(got)
	}
}
