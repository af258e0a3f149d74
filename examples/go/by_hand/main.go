// A lambda without the SDK: it uses only grpc-go and the generated code. One partition at a time.
//
//	go run . NAME [ADDRESS]
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "kafka-sidecar.example/sdk_go/protocol"
)

// serve takes one partition, prints its values, and gives it back when it is revoked.
func serve(ctx context.Context, name, address string) error {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	host := pb.NewLambdaHostClient(conn)
	stream, err := host.Serve(ctx)
	if err != nil {
		return err
	}
	// What Send returns need not be looked at: when the stream is over, Recv tells why.
	send := func(frame *pb.LambdaFrame) { _ = stream.Send(frame) }
	offer := &pb.Offer{LambdaName: name, ProcessId: rand.Text(), ProtocolVersion: 1}
	send(&pb.LambdaFrame{Frame: &pb.LambdaFrame_Offer{Offer: offer}})
	lease := ""
	for {
		frame, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		switch kind := frame.Frame.(type) {
		case *pb.HostFrame_Welcome: // load what you need, then say that you can take a partition
			send(&pb.LambdaFrame{Frame: &pb.LambdaFrame_Available{Available: &pb.Available{}}})
		case *pb.HostFrame_Assigned:
			lease = kind.Assigned.Lease
			send(&pb.LambdaFrame{Frame: &pb.LambdaFrame_Ready{Ready: &pb.Ready{Lease: lease}}})
		case *pb.HostFrame_Batch:
			batch := kind.Batch
			for _, value := range batch.Values {
				fmt.Printf("%q\n", value)
			}
			last := batch.FirstOffset + int64(len(batch.Values)) - 1
			if n := len(batch.Offsets); n > 0 {
				last = batch.Offsets[n-1]
			}
			entry := &pb.CheckpointEntry{Lease: lease, Offset: &last}
			if _, err := host.Checkpoint(ctx, &pb.CheckpointRequest{Entries: []*pb.CheckpointEntry{entry}}); err != nil {
				return err
			}
		case *pb.HostFrame_Revoked:
			closed := &pb.Closed{Reason: pb.ClosedReason_CLOSED_REASON_REVOKED}
			send(&pb.LambdaFrame{Frame: &pb.LambdaFrame_Closed{Closed: closed}})
			_ = stream.CloseSend()
		}
	}
}

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: by_hand NAME [ADDRESS]")
	}
	address := "127.0.0.1:50051"
	if len(os.Args) > 2 {
		address = os.Args[2]
	}
	if err := serve(context.Background(), os.Args[1], address); err != nil {
		log.Fatalf("%q", err.Error())
	}
}
