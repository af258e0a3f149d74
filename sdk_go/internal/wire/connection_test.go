package wire_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"kafka-sidecar.example/sdk_go/internal/wire"
	pb "kafka-sidecar.example/sdk_go/protocol"
)

// server is a gRPC server that notes from which connection each stream and call comes, and with which token.
type server struct {
	pb.UnimplementedLambdaHostServer
	mu      sync.Mutex
	streams map[string]int // by the client's address
	calls   map[string]int
	tokens  map[string]int
}

func (s *server) note(ctx context.Context, kept map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, _ := peer.FromContext(ctx)
	kept[from.Addr.String()]++
	headers, _ := metadata.FromIncomingContext(ctx)
	for _, token := range headers.Get("authorization") {
		s.tokens[token]++
	}
}

func (s *server) Serve(stream grpc.BidiStreamingServer[pb.LambdaFrame, pb.HostFrame]) error {
	s.note(stream.Context(), s.streams)
	if err := stream.Send(&pb.HostFrame{}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func (s *server) Checkpoint(ctx context.Context, _ *pb.CheckpointRequest) (*pb.CheckpointResponse, error) {
	s.note(ctx, s.calls)
	return &pb.CheckpointResponse{}, nil
}

func (s *server) Error(context.Context, *pb.ErrorRequest) (*pb.ErrorResponse, error) {
	return nil, status.Error(codes.InvalidArgument, "no such lease")
}

func (s *server) Produce(_ context.Context, request *pb.ProduceRequest) (*pb.ProduceResponse, error) {
	return &pb.ProduceResponse{Errors: make([]string, len(request.Values))}, nil
}

// listen starts a server; it returns the endpoint.
func listen(t *testing.T, network, address string, options ...grpc.ServerOption) (*server, string) {
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	made := &server{streams: map[string]int{}, calls: map[string]int{}, tokens: map[string]int{}}
	served := grpc.NewServer(options...)
	pb.RegisterLambdaHostServer(served, made)
	go func() { _ = served.Serve(listener) }() // it ends with Stop
	t.Cleanup(served.Stop)
	if network == "unix" {
		return made, "unix://" + address
	}
	return made, listener.Addr().String()
}

func dial(t *testing.T, endpoint wire.Endpoint) *wire.Connection {
	c, err := wire.Dial(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// open opens a stream, and returns once the server has it.
func open(t *testing.T, ctx context.Context, c *wire.Connection) wire.Stream {
	t.Helper()
	stream, err := c.Serve(ctx)
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestStreamsAndCallsHaveConnectionsOfTheirOwn(t *testing.T) {
	remote, address := listen(t, "tcp", "127.0.0.1:0")
	c := dial(t, wire.Endpoint{Address: address, Token: "secret"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 65 {
		open(t, ctx, c)
	}
	if _, err := c.Checkpoint(ctx, &pb.CheckpointRequest{}); err != nil {
		t.Fatal(err)
	}
	remote.mu.Lock()
	defer remote.mu.Unlock()
	if len(remote.streams) != 2 || len(remote.calls) != 1 {
		t.Errorf("streams %v, calls %v", remote.streams, remote.calls)
	}
	for from, count := range remote.streams {
		if count > 64 || remote.calls[from] > 0 {
			t.Errorf("%d streams and %d calls on one connection", count, remote.calls[from])
		}
	}
	if remote.tokens["Bearer secret"] != 66 {
		t.Errorf("tokens %v", remote.tokens)
	}
}

func TestAStreamThatEndedMakesRoom(t *testing.T) {
	remote, address := listen(t, "tcp", "127.0.0.1:0")
	c := dial(t, wire.Endpoint{Address: address})
	for range 70 {
		ctx, cancel := context.WithCancel(t.Context())
		stream := open(t, ctx, c)
		cancel()
		if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
			t.Fatal(err)
		}
	}
	remote.mu.Lock()
	defer remote.mu.Unlock()
	if len(remote.streams) != 1 {
		t.Errorf("streams %v", remote.streams)
	}
}

func TestUnixSockets(t *testing.T) {
	_, address := listen(t, "unix", filepath.Join(t.TempDir(), "s"))
	c := dial(t, wire.Endpoint{Address: address})
	if _, err := c.Checkpoint(t.Context(), &pb.CheckpointRequest{}); err != nil {
		t.Error(err)
	}
	if _, err := c.Error(t.Context(), &pb.ErrorRequest{}); !wire.Refuses(err) {
		t.Error(err)
	}
	large := &pb.ProduceRequest{Values: [][]byte{make([]byte, 5<<20)}}
	if _, err := c.Produce(t.Context(), large); !wire.TooLarge(err) {
		t.Error(err) // the server takes 4 MiB
	}
}

func TestTheProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	t.Setenv("https_proxy", "http://127.0.0.1:1")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	_, address := listen(t, "tcp", "127.0.0.1:0")
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, wire.Endpoint{Address: "0.0.0.0:" + port}) // as the sidecar's config may have it
	if _, err := c.Checkpoint(t.Context(), &pb.CheckpointRequest{}); err != nil {
		t.Error(err)
	}
}

func TestTLSWithBothCertificates(t *testing.T) {
	pair, pool := certificate(t)
	_, address := listen(t, "tcp", "127.0.0.1:0", grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS12,
	})))
	known := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	c := dial(t, wire.Endpoint{Address: address, TLS: known})
	if _, err := c.Checkpoint(t.Context(), &pb.CheckpointRequest{}); err != nil {
		t.Error(err)
	}
	for name, config := range map[string]*tls.Config{
		"nobody trusted": {MinVersion: tls.VersionTLS12},
		"no certificate": {RootCAs: pool, MinVersion: tls.VersionTLS12},
		"not encrypted":  nil,
	} {
		if _, err := dial(t, wire.Endpoint{Address: address, TLS: config}).Checkpoint(t.Context(), &pb.CheckpointRequest{}); err == nil {
			t.Error(name, "is let in")
		}
	}
}

// certificate is one for 127.0.0.1, for servers and clients, that signs itself.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(made)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
