package sidecar

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"time"

	"kafka-sidecar.example/sdk_go/internal/wire"
)

// defaultAddress is where a sidecar listens unless its config says otherwise.
const defaultAddress = "127.0.0.1:50051"

// Option is an option of [Serve]. Most have an environment variable as well, and win over it.
type Option func(*options)

type options struct {
	endpoint      wire.Endpoint
	sidecar       wire.Sidecar // nil: over gRPC
	log           *slog.Logger
	maxPartitions int
	drain         time.Duration
	environment   []override
	settings      map[string]any
	version       string
}

// WithAddress says where the sidecar is: host:port or unix:///path. KAFKA_SIDECAR_ADDRESS; 127.0.0.1:50051.
func WithAddress(address string) Option {
	return func(o *options) { o.endpoint.Address = address }
}

// WithToken gives the sidecar's server.token. KAFKA_SIDECAR_TOKEN.
func WithToken(token string) Option {
	return func(o *options) { o.endpoint.Token = token }
}

// WithTLS encrypts. KAFKA_SIDECAR_CA names a PEM file with the authorities to trust; KAFKA_SIDECAR_CERT and
// KAFKA_SIDECAR_KEY those of this process's certificate.
func WithTLS(config *tls.Config) Option {
	return func(o *options) { o.endpoint.TLS = config }
}

// WithLogger says where to log; otherwise [slog.Default].
func WithLogger(logger *slog.Logger) Option {
	return func(o *options) { o.log = logger }
}

// WithMaxPartitions bounds how many partitions this process takes at a time; otherwise the sidecar decides.
func WithMaxPartitions(most int) Option {
	return func(o *options) { o.maxPartitions = most }
}

// WithDrainTimeout says how long handlers, Close and Dispose have when the process is to end; otherwise 10 s.
func WithDrainTimeout(timeout time.Duration) Option {
	return func(o *options) { o.drain = timeout }
}

// WithSettings overrides settings of the sidecar's config, and KAFKA_SIDECAR_SET_name. The values must be fit for JSON.
func WithSettings(settings map[string]any) Option {
	return func(o *options) { o.settings = settings }
}

// WithVersion tells operators the version of the lambda's code. KAFKA_SIDECAR_LAMBDA_VERSION.
func WithVersion(version string) Option {
	return func(o *options) { o.version = version }
}

// WithSidecar is for package sidecartest.
func WithSidecar(sidecar wire.Sidecar) Option {
	return func(o *options) { o.sidecar = sidecar }
}

// madeOptions reads the environment, and then the options over it.
func madeOptions(given []Option) (*options, error) {
	environment, err := environmentSettings(os.Environ())
	if err != nil {
		return nil, err
	}
	made := &options{
		endpoint:    wire.Endpoint{Address: os.Getenv("KAFKA_SIDECAR_ADDRESS"), Token: os.Getenv("KAFKA_SIDECAR_TOKEN")},
		log:         slog.Default(),
		drain:       10 * time.Second,
		environment: environment,
		version:     os.Getenv("KAFKA_SIDECAR_LAMBDA_VERSION"),
	}
	for _, option := range given {
		option(made)
	}
	if made.endpoint.Address == "" {
		made.endpoint.Address = defaultAddress
	}
	if made.endpoint.TLS == nil {
		made.endpoint.TLS, err = environmentTLS()
	}
	return made, err
}

// environmentTLS reads the files that the environment names; nil: it names none.
func environmentTLS() (*tls.Config, error) {
	authority, certificate, key := os.Getenv("KAFKA_SIDECAR_CA"), os.Getenv("KAFKA_SIDECAR_CERT"), os.Getenv("KAFKA_SIDECAR_KEY")
	if authority == "" && certificate == "" && key == "" {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if authority != "" {
		pem, err := os.ReadFile(authority)
		if err != nil {
			return nil, &SettingsError{"KAFKA_SIDECAR_CA", fmt.Sprintf("%v; name a file with the certificates to trust", err)}
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &SettingsError{"KAFKA_SIDECAR_CA", authority + " has no certificate in PEM"}
		}
	}
	if (certificate == "") != (key == "") {
		return nil, &SettingsError{"KAFKA_SIDECAR_CERT and KAFKA_SIDECAR_KEY", "one is missing; a certificate needs its key"}
	}
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, &SettingsError{"KAFKA_SIDECAR_CERT and KAFKA_SIDECAR_KEY",
				fmt.Sprintf("%v; they must be PEM, and the key the certificate's own", err)}
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
