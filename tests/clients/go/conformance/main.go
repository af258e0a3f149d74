// The conformance lambda in Go: it does what $CONFORMANCE_DO says, as docs/conformance.md describes.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	sidecar "kafka-sidecar.example/sdk_go"
)

func main() {
	script, err := parse(os.Getenv("CONFORMANCE_DO"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "CONFORMANCE_DO:", err)
		os.Exit(2)
	}
	slog.Info("conformance", "case", os.Getenv("CONFORMANCE_CASE"), "do", os.Getenv("CONFORMANCE_DO"))
	sidecar.Main(os.Getenv("CONFORMANCE_LAMBDA"), &process{script: script, paused: map[int64]bool{}})
}

// process is what all partitions of the process share.
type process struct {
	script  script
	created atomic.Int64
	first   sync.Once // the setting is told for the first record

	mu     sync.Mutex
	paused map[int64]bool // the records at which a pause has begun
}

// Load takes as long as `load` says.
func (p *process) Load(context.Context, sidecar.Settings) error {
	p.wait("load")
	return nil
}

// Create fails as often as `fail-create` says.
func (p *process) Create(_ context.Context, partition *sidecar.Partition) (sidecar.Lambda, error) {
	p.wait("create")
	for _, word := range p.script["fail-create"] {
		if p.created.Add(1) <= word.number(0) {
			return nil, errors.New("planned")
		}
	}
	return &lambda{Partition: partition, process: p, last: -1}, nil
}

func (p *process) wait(name string) {
	for _, word := range p.script[name] {
		time.Sleep(word.duration(0))
	}
}

// firstPause reports whether no pause has begun at this record yet.
func (p *process) firstPause(offset int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.paused[offset]
	p.paused[offset] = true
	return !before
}
