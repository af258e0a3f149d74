package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	sidecar "kafka-sidecar.example/sdk_go"
)

const (
	maxBackoff    = 10 * time.Second
	maxRetryAfter = time.Hour // a later time in Retry-After is taken for a mistake
	maxShown      = 200       // bytes of an answer in an error
)

// endpoint is the HTTP endpoint. All partitions share it.
type endpoint struct {
	url      string
	headers  map[string]string
	attempts int
	backoff  time.Duration
	client   *http.Client
	limit    *limiter
}

// downError says that the endpoint does not answer as it should, after all attempts.
type downError struct {
	reason     string
	retryAfter time.Duration // as the endpoint asked for
}

func (e *downError) Error() string { return "the endpoint is down: " + e.reason }

// rejectedError says that the endpoint does not want a record, and never will.
type rejectedError struct {
	status string
	body   []byte
}

func (e *rejectedError) Error() string { return fmt.Sprintf("rejected: %q: %q", e.status, e.body) }

// call posts a record until the endpoint has taken it. Its error is a downError, a rejectedError, or that of ctx.
func (e *endpoint) call(ctx context.Context, record sidecar.Record) error {
	for attempt := 1; ; attempt++ {
		if err := e.limit.wait(ctx); err != nil {
			return err
		}
		down, err := e.post(ctx, record)
		if down == nil || ctx.Err() != nil {
			if ctx.Err() != nil {
				return context.Canceled
			}
			return err
		}
		backoff := min(maxBackoff, e.backoff<<min(attempt-1, 16))
		// A wait that is longer than any back-off is no affair of one record: the partition pauses.
		if attempt >= e.attempts || down.retryAfter > maxBackoff {
			return down
		}
		backoff = time.Duration(float64(backoff) * (0.5 + rand.Float64()/2))
		select {
		case <-ctx.Done():
			return context.Canceled
		case <-time.After(max(backoff, down.retryAfter)):
		}
	}
}

// post makes one request. It returns a downError if it may go better next time, an error if not, and neither if the
// endpoint has taken the record.
func (e *endpoint) post(ctx context.Context, record sidecar.Record) (*downError, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(record.Value))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/octet-stream")
	for name, value := range e.headers {
		request.Header.Set(name, value)
	}
	request.Header.Set("Kafka-Topic", record.Topic)
	request.Header.Set("Kafka-Partition", strconv.Itoa(int(record.Partition)))
	request.Header.Set("Kafka-Offset", strconv.FormatInt(record.Offset, 10))
	if record.Key != nil {
		request.Header.Set("Kafka-Key-Base64", base64.StdEncoding.EncodeToString(record.Key))
	}
	// The same for each attempt, also by another process: the endpoint can tell that it has the record already.
	request.Header.Set("Idempotency-Key", fmt.Sprintf("%s/%d/%d", record.Topic, record.Partition, record.Offset))
	response, err := e.client.Do(request)
	if err != nil {
		return &downError{reason: fmt.Sprintf("%q", err.Error())}, nil
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxShown)) // what can be read of it is enough
	switch code := response.StatusCode; {
	case code >= 200 && code < 300:
		return nil, nil
	case code >= 500 || code == http.StatusTooManyRequests:
		wait := retryAfter(response.Header.Get("Retry-After"), time.Now())
		return &downError{fmt.Sprintf("%q: %q", response.Status, body), wait}, nil
	default:
		return nil, &rejectedError{response.Status, body}
	}
}

// retryAfter reads the header: a number of seconds, or a time. 0: it says nothing of use.
func retryAfter(header string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.Atoi(header); err == nil {
		wait = time.Duration(min(seconds, int(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// limiter lets one through each interval.
type limiter struct {
	interval time.Duration
	mu       sync.Mutex
	next     time.Time
}

func newLimiter(perSecond float64) *limiter {
	made := &limiter{}
	if perSecond > 0 {
		made.interval = time.Duration(float64(time.Second) / perSecond)
	}
	return made
}

// wait waits for this one's turn.
func (l *limiter) wait(ctx context.Context) error {
	l.mu.Lock()
	now := time.Now()
	turn := l.next
	if turn.Before(now) {
		turn = now
	}
	l.next = turn.Add(l.interval)
	l.mu.Unlock()
	if turn.After(now) {
		select {
		case <-time.After(turn.Sub(now)):
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return context.Canceled
	}
	return nil
}
