package sidecar_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	sidecar "kafka-sidecar.example/sdk_go"
	pb "kafka-sidecar.example/sdk_go/protocol"
)

// host is a sidecar over gRPC that gives out one partition with one record. It asks for a token.
type host struct {
	pb.UnimplementedLambdaHostServer
	checkpointed chan int64
}

func authorized(ctx context.Context) error {
	headers, _ := metadata.FromIncomingContext(ctx)
	if got := headers.Get("authorization"); len(got) != 1 || got[0] != "Bearer secret" {
		return status.Error(codes.Unauthenticated, "the token is missing or wrong")
	}
	return nil
}

func (h *host) Serve(stream grpc.BidiStreamingServer[pb.LambdaFrame, pb.HostFrame]) error {
	if err := authorized(stream.Context()); err != nil {
		return err
	}
	for {
		frame, err := stream.Recv()
		if err != nil {
			return err
		}
		switch frame.Frame.(type) {
		case *pb.LambdaFrame_Offer:
			err = stream.Send(&pb.HostFrame{Frame: &pb.HostFrame_Welcome{Welcome: &pb.Welcome{SettingsJson: "{}"}}})
		case *pb.LambdaFrame_Available:
			select {
			case h.checkpointed <- -1: // the first stream gets the partition
				err = stream.Send(&pb.HostFrame{Frame: &pb.HostFrame_Assigned{Assigned: &pb.Assigned{Lease: "a", Topic: "t"}}})
			default:
			}
		case *pb.LambdaFrame_Ready:
			err = stream.Send(&pb.HostFrame{Frame: &pb.HostFrame_Batch{Batch: &pb.Batch{FirstOffset: 7, Values: [][]byte{{1}}}}})
		case *pb.LambdaFrame_Closed:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (h *host) Checkpoint(ctx context.Context, request *pb.CheckpointRequest) (*pb.CheckpointResponse, error) {
	if err := authorized(ctx); err != nil {
		return nil, err
	}
	<-h.checkpointed
	h.checkpointed <- request.Entries[0].GetOffset()
	return &pb.CheckpointResponse{Results: []*pb.CheckpointResult{{Outcome: pb.CheckpointOutcome_CHECKPOINT_OUTCOME_ACCEPTED}}}, nil
}

// secured starts such a host with TLS; it returns the files of the certificate and its key.
func secured(t *testing.T) (address, certificate, key string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	certificate, key = filepath.Join(folder, "certificate.pem"), filepath.Join(folder, "key.pem")
	for path, block := range map[string]*pem.Block{
		certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: encoded},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}},
		ClientCAs:    pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	})))
	pb.RegisterLambdaHostServer(server, &host{checkpointed: make(chan int64, 1)})
	go func() { _ = server.Serve(listener) }() // it ends with Stop
	t.Cleanup(server.Stop)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return "localhost:" + port, certificate, key
}

func TestAProcessServesByItsEnvironment(t *testing.T) {
	address, certificate, key := secured(t)
	t.Setenv("KAFKA_SIDECAR_ADDRESS", address)
	t.Setenv("KAFKA_SIDECAR_TOKEN", "secret")
	t.Setenv("KAFKA_SIDECAR_CA", certificate)
	t.Setenv("KAFKA_SIDECAR_CERT", certificate)
	t.Setenv("KAFKA_SIDECAR_KEY", key)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	handled := make(chan int64, 1)
	factory := sidecar.HandlerFunc(func(_ context.Context, partition *sidecar.Partition, record sidecar.Record) error {
		if _, known := partition.StartOffset(); known || partition.Topic() != "t" || partition.Lease() != "a" {
			t.Error("not the partition that was assigned")
		}
		partition.Checkpoint(record.Offset)
		handled <- record.Offset
		stop()
		return nil
	})
	if err := sidecar.Serve(ctx, "words", factory, sidecar.WithLogger(slog.New(slog.NewTextHandler(t.Output(), nil)))); err != nil {
		t.Error(err)
	}
	if offset := <-handled; offset != 7 {
		t.Errorf("handled %d", offset)
	}
}

func TestWhatCannotWorkEndsTheProcess(t *testing.T) {
	address, certificate, key := secured(t)
	t.Setenv("KAFKA_SIDECAR_ADDRESS", address)
	t.Setenv("KAFKA_SIDECAR_CERT", certificate)
	t.Setenv("KAFKA_SIDECAR_KEY", key)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	serve := func(options ...sidecar.Option) error {
		options = append(options, sidecar.WithLogger(slog.New(slog.NewTextHandler(t.Output(), nil))))
		return sidecar.Serve(ctx, "words", lambdas(nil, nil), options...)
	}
	var settings *sidecar.SettingsError
	if err := serve(); !errors.As(err, &settings) || !strings.Contains(err.Error(), "KAFKA_SIDECAR_CA names the authority") {
		t.Errorf("not trusted: %v", err)
	}
	t.Setenv("KAFKA_SIDECAR_CA", certificate)
	var refused *sidecar.RefusedError
	if err := serve(sidecar.WithToken("wrong")); !errors.As(err, &refused) || refused.Code != codes.Unauthenticated {
		t.Errorf("wrong token: %v", err)
	}
	if err := serve(sidecar.WithAddress("[::1")); !errors.As(err, &settings) {
		t.Errorf("no address: %v", err)
	}
}
