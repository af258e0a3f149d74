// Webhooks calls an HTTP endpoint for each record of a topic. README.md says what it promises.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	sidecar "kafka-sidecar.example/sdk_go"
)

// settings are those of the lambda in the sidecar's config.
type settings struct {
	URL       string            `json:"url"`        // required
	Headers   map[string]string `json:"headers"`    // of each request, such as Authorization
	InFlight  int               `json:"in_flight"`  // requests of one partition at a time
	PerSecond float64           `json:"per_second"` // requests of this process; 0: no limit
	TimeoutMS int               `json:"timeout_ms"` // of one request
	Attempts  int               `json:"attempts"`   // before the endpoint counts as down
	BackoffMS int               `json:"backoff_ms"` // before the second attempt; doubles
	PauseMS   int               `json:"pause_ms"`   // while the endpoint is down, at least
}

// hooks makes the lambdas; all of them share the client.
type hooks struct {
	settings settings
	endpoint *endpoint
}

// Load reads the settings.
func (h *hooks) Load(_ context.Context, given sidecar.Settings) error {
	h.settings = settings{InFlight: 8, TimeoutMS: 10_000, Attempts: 5, BackoffMS: 200, PauseMS: 10_000}
	if err := given.Decode(&h.settings); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	s := h.settings
	target, err := url.Parse(s.URL)
	switch {
	case err != nil:
		return fmt.Errorf("settings: url: %w", err)
	case target.Scheme != "http" && target.Scheme != "https" || target.Host == "":
		return fmt.Errorf("settings: url: %q is no URL of a webhook, such as https://example.com/hook", s.URL)
	case s.InFlight < 1 || s.Attempts < 1 || s.TimeoutMS < 1 || s.BackoffMS < 0 || s.PauseMS < 1 || s.PerSecond < 0:
		return errors.New("settings: in_flight, attempts, timeout_ms and pause_ms are at least 1, the others not negative")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 16 * s.InFlight
	h.endpoint = &endpoint{
		url: s.URL, headers: s.Headers, attempts: s.Attempts, backoff: milliseconds(s.BackoffMS),
		client: &http.Client{Transport: transport, Timeout: milliseconds(s.TimeoutMS)},
		limit:  newLimiter(s.PerSecond),
	}
	return nil
}

// Create makes the lambda of a partition. ctx ends with the partition's lease.
func (h *hooks) Create(ctx context.Context, partition *sidecar.Partition) (sidecar.Lambda, error) {
	return newHook(ctx, partition, h.endpoint, h.settings.InFlight, milliseconds(h.settings.PauseMS)), nil
}

// Dispose closes the connections.
func (h *hooks) Dispose(context.Context) error {
	h.endpoint.client.CloseIdleConnections()
	return nil
}

func milliseconds(number int) time.Duration { return time.Duration(number) * time.Millisecond }

func main() {
	name := "webhooks"
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	sidecar.Main(name, &hooks{})
}
