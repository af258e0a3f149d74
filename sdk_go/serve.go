package sidecar

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"kafka-sidecar.example/sdk_go/internal/wire"
)

// Version of this package.
const Version = "0.1.0"

// Serve serves the lambda with this name in the sidecar's config until ctx is done. Then it drains: the running handlers
// end, Close and Dispose are called, and the last checkpoints are sent. It returns nil when all of that is done.
//
// Otherwise it returns a [*RefusedError] when the sidecar refuses the process at its start, a [*SettingsError] when an
// option cannot be used, an [*UnfinishedError] when the drain took too long, or what Load returned. A sidecar that is not
// there is waited for.
func Serve(ctx context.Context, name string, factory Factory, given ...Option) error {
	options, err := madeOptions(given)
	if err != nil {
		return err
	}
	if name == "" || factory == nil {
		return &SettingsError{"Serve", "it needs the lambda's name in the sidecar's config, and a factory"}
	}
	remote := options.sidecar
	if remote == nil {
		remote, err = wire.Dial(options.endpoint)
		if err != nil {
			return &SettingsError{"the sidecar's address", err.Error()}
		}
	}
	defer remote.Close()
	return newClient(name, factory, options, remote).run(ctx)
}

// Main is the main function of a program that serves one lambda: it serves until SIGTERM or SIGINT, and ends the
// process. Its exit code is 0 after a drain; 2 when the sidecar refuses the process or an option cannot be used;
// 1 otherwise. A second signal ends the process at once.
func Main(name string, factory Factory, options ...Option) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop)
	err := Serve(ctx, name, factory, options...)
	if err == nil {
		os.Exit(0)
	}
	fmt.Fprintln(os.Stderr, "error:", printable(err.Error()))
	var refused *RefusedError
	var settings *SettingsError
	if errors.As(err, &refused) || errors.As(err, &settings) {
		os.Exit(2)
	}
	os.Exit(1)
}
