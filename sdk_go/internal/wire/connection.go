package wire

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	pb "kafka-sidecar.example/sdk_go/protocol"
)

// streamsPerConnection is below what servers and proxies usually allow, which is 100.
const streamsPerConnection = 64

// The sidecar gives up on Kafka after 60 s, and says so.
const (
	callTimeout    = 10 * time.Second
	produceTimeout = 90 * time.Second
)

// Endpoint is where the sidecar is, and how to talk to it.
type Endpoint struct {
	Address string // host:port or unix:///path
	Token   string // empty: none
	TLS     *tls.Config
}

// Connection is all connections to one sidecar. The calls have one of their own, so that no checkpoint waits for records.
type Connection struct {
	target  string
	options []grpc.DialOption
	calls   *grpc.ClientConn
	host    pb.LambdaHostClient

	mu    sync.Mutex
	lanes []*lane
}

// lane is one connection for streams.
type lane struct {
	conn *grpc.ClientConn
	used int
}

// Dial prepares the connections. They are made when they are needed.
func Dial(endpoint Endpoint) (*Connection, error) {
	dialled, err := target(endpoint.Address)
	c := &Connection{target: dialled, options: dialOptions(endpoint)}
	if err == nil {
		c.calls, err = grpc.NewClient(c.target, c.options...)
	}
	if err != nil {
		return nil, fmt.Errorf("%q cannot be used: %w; expected host:port or unix:///path", endpoint.Address, err)
	}
	c.host = pb.NewLambdaHostClient(c.calls)
	return c, nil
}

func dialOptions(endpoint Endpoint) []grpc.DialOption {
	secured := insecure.NewCredentials()
	if endpoint.TLS != nil {
		secured = credentials.NewTLS(endpoint.TLS)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(secured),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessageBytes), grpc.MaxCallSendMsgSize(MaxMessageBytes)),
		// gRPC for Go pings no more often than every 10 s; a healthy sidecar pings every 5 s by itself. So one that was
		// silent for 10 s is asked, and one that is silent for 12 s is gone.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 10 * time.Second, Timeout: 2 * time.Second, PermitWithoutStream: true,
		}),
		// A sidecar that comes back is found at once; by default gRPC would wait up to two minutes.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithIdleTimeout(0),
		grpc.WithDisableServiceConfig(),
		// The sidecar is nearby; http_proxy in the environment is meant for other calls.
		grpc.WithNoProxy(),
	}
	if endpoint.Token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(endpoint.Token)))
	}
	return options
}

// target is the address as gRPC dials it. A sidecar that listens on all interfaces is dialled on loopback. A host's name
// is looked up by the dialler at each new connection; gRPC's own resolver would keep an old answer for half a minute.
func target(address string) (string, error) {
	for _, scheme := range []string{"unix:", "unix-abstract:", "dns:", "passthrough:"} {
		if strings.HasPrefix(address, scheme) {
			return address, nil
		}
	}
	for _, everywhere := range []string{"0.0.0.0:", "[::]:", ":"} {
		if port, found := strings.CutPrefix(address, everywhere); found {
			address = "127.0.0.1:" + port
		}
	}
	_, _, err := net.SplitHostPort(address)
	return "passthrough:///" + address, err
}

// Serve opens a stream on the first connection with room. It makes room again when ctx ends.
func (c *Connection) Serve(ctx context.Context) (Stream, error) {
	used, err := c.lane()
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		used.used--
	})
	return pb.NewLambdaHostClient(used.conn).Serve(ctx)
}

func (c *Connection) lane() (*lane, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, known := range c.lanes {
		if known.used < streamsPerConnection {
			known.used++
			return known, nil
		}
	}
	conn, err := grpc.NewClient(c.target, c.options...)
	if err != nil {
		return nil, err
	}
	made := &lane{conn: conn, used: 1}
	c.lanes = append(c.lanes, made)
	return made, nil
}

// Checkpoint makes the call.
func (c *Connection) Checkpoint(ctx context.Context, request *pb.CheckpointRequest) (*pb.CheckpointResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return c.host.Checkpoint(ctx, request)
}

// Error makes the call.
func (c *Connection) Error(ctx context.Context, request *pb.ErrorRequest) (*pb.ErrorResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return c.host.Error(ctx, request)
}

// Produce makes the call, which takes as long as Kafka does.
func (c *Connection) Produce(ctx context.Context, request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, produceTimeout)
	defer cancel()
	return c.host.Produce(ctx, request)
}

// Close ends all connections.
func (c *Connection) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, used := range c.lanes {
		_ = used.conn.Close() // it fails only when it is closed already
	}
	_ = c.calls.Close()
}

// bearer is the token that goes with each call. As a text it stays out of logs.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return false }

func (bearer) String() string { return "a token" }
