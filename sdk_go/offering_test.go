package sidecar_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	sidecar "kafka-sidecar.example/sdk_go"
	pb "kafka-sidecar.example/sdk_go/protocol"
)

func TestARefusalAtTheStartEndsTheProcess(t *testing.T) {
	play(t, lambdas(nil, nil), func(w *world) {
		stream := w.stream()
		stream.End(refused(codes.NotFound))
		err := w.ends()
		var refusal *sidecar.RefusedError
		if !errors.As(err, &refusal) || refusal.Code != codes.NotFound {
			t.Fatalf("%v", err)
		}
		if text := err.Error(); strings.Contains(text, "\x1b") || !strings.Contains(text, `because\x1b[31m`) {
			t.Errorf("a text of the sidecar could control a terminal: %q", text)
		}
	})
}

func TestALaterRefusalIsAskedAgain(t *testing.T) {
	play(t, lambdas(nil, nil), func(w *world) {
		w.spare().End(refused(codes.Unauthenticated))
		for range 8 {
			began := time.Now()
			stream := w.stream()
			if took := stream.opened.Sub(began); took < 2*time.Second || took > 30*time.Second {
				t.Errorf("asks again after %s", took)
			}
			stream.End(refused(codes.Unauthenticated))
		}
	})
}

func TestASidecarThatIsGoneIsSoonFoundAgain(t *testing.T) {
	play(t, lambdas(nil, nil), func(w *world) {
		began := time.Now()
		stream := w.stream()
		for i := range 20 {
			stream.breakOff()
			stream = w.stream()
			took := stream.opened.Sub(began)
			began = time.Now()
			if i == 0 && took > 0 || took > 2*time.Second {
				t.Errorf("attempt %d after %s", i, took)
			}
			if i > 10 && took < time.Second {
				t.Errorf("attempt %d after %s", i, took)
			}
		}
	})
}

func TestSilenceInsteadOfAWelcomeIsGivenUp(t *testing.T) {
	play(t, lambdas(nil, nil), func(w *world) {
		stream := w.stream()
		began := time.Now()
		w.stream()
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("after %s", took)
		}
		stream.broken()
	})
}

// loading is a factory with the optional methods.
type loading struct {
	sidecar.Factory
	settings chan sidecar.Settings
	disposed bool
	err      error
}

func (l *loading) Load(ctx context.Context, settings sidecar.Settings) error {
	select {
	case l.settings <- settings:
	case <-ctx.Done():
		return ctx.Err()
	}
	return l.err
}

func (l *loading) Dispose(context.Context) error {
	l.disposed = true
	return nil
}

func TestWhatIsLoadedIsDisposed(t *testing.T) {
	t.Setenv("KAFKA_SIDECAR_SET_MONGO__URL", "mongodb://there")
	t.Setenv("KAFKA_SIDECAR_SET_n", "5")
	factory := &loading{Factory: lambdas(nil, nil)}
	play(t, factory, func(w *world) {
		factory.settings = make(chan sidecar.Settings, 1)
		stream := w.stream()
		stream.offer()
		stream.welcome(&pb.Welcome{SettingsJson: `{"mongo":{"url":"x","big":12345678901234567890},"n":1,"o":null}`})
		stream.next("Available")
		loaded := <-factory.settings
		if got, want := string(loaded.JSON()), `{"mongo":{"big":12345678901234567890,"url":"mongodb://there"},"n":5,"o":true}`; got != want {
			t.Errorf("settings %s, want %s", got, want)
		}
		w.stop()
		if err := w.ends(); err != nil || !factory.disposed {
			t.Errorf("%v, disposed: %t", err, factory.disposed)
		}
	}, sidecar.WithSettings(map[string]any{"o": true}))
}

func TestWhatCannotBeLoadedEndsTheProcess(t *testing.T) {
	factory := &loading{Factory: lambdas(nil, nil), err: errors.New("no database")}
	play(t, factory, func(w *world) {
		factory.settings = make(chan sidecar.Settings, 1)
		stream := w.stream()
		stream.welcome(&pb.Welcome{})
		if err := w.ends(); !errors.Is(err, factory.err) {
			t.Errorf("%v", err)
		}
		stream.broken()
	})
}

func TestAProcessTakesNoMoreThanItWants(t *testing.T) {
	play(t, lambdas(nil, nil), func(w *world) {
		stream := w.ready("a", 0)
		synctest.Wait()
		if len(w.streams) != 0 {
			t.Fatal("a spare stream, though one partition is all it takes")
		}
		stream.revoke(rebalance, time.Second)
		stream.closed(byRevoke)
		stream.End(errEOF)
		w.stream()
	}, sidecar.WithMaxPartitions(1))
}

func TestASettingThatCannotBeUsed(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for name, value := range map[string]string{
		"KAFKA_SIDECAR_SET_a__":    "1",
		"KAFKA_SIDECAR_CA":         "/nowhere.pem",
		"KAFKA_SIDECAR_CERT":       "/nowhere.pem",
		"KAFKA_SIDECAR_SET___deep": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			var settings *sidecar.SettingsError
			if err := sidecar.Serve(ctx, "words", lambdas(nil, nil)); !errors.As(err, &settings) || !strings.Contains(err.Error(), name) {
				t.Errorf("%v", err)
			}
		})
	}
}
