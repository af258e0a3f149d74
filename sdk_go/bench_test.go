package sidecar_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	sidecar "kafka-sidecar.example/sdk_go"
	"kafka-sidecar.example/sdk_go/internal/played"
	pb "kafka-sidecar.example/sdk_go/protocol"
)

// BenchmarkRecords is the whole way of a record through a process, from the bytes of a frame to the checkpoint, without
// the connection.
func BenchmarkRecords(b *testing.B) {
	const frame = 4000
	remote, streams := played.New(), make(chan *played.Stream, 10)
	remote.OnFrame = func(stream *played.Stream, frame *pb.LambdaFrame) {
		switch frame.Frame.(type) {
		case *pb.LambdaFrame_Offer:
			stream.Say(&pb.HostFrame{Frame: &pb.HostFrame_Welcome{Welcome: &pb.Welcome{
				WindowMessages: 1 << 30, WindowBytes: 1 << 40,
			}}})
		case *pb.LambdaFrame_Available:
			streams <- stream
		}
	}
	var data []byte
	var handled int64
	done := make(chan struct{})
	ctx, stop := context.WithCancel(b.Context())
	served := make(chan error, 1)
	frames := int64((b.N + frame - 1) / frame)
	factory := sidecar.HandlerFunc(func(_ context.Context, partition *sidecar.Partition, record sidecar.Record) error {
		partition.Checkpoint(record.Offset)
		if handled++; handled == frames*frame {
			close(done)
		}
		return nil
	})
	go func() {
		served <- sidecar.Serve(ctx, "bench", factory, sidecar.WithSidecar(remote),
			sidecar.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))), sidecar.WithDrainTimeout(time.Second))
	}()
	stream := <-streams
	stream.Say(&pb.HostFrame{Frame: &pb.HostFrame_Assigned{Assigned: &pb.Assigned{Lease: "a", Topic: "t"}}})
	batch := &pb.Batch{TimestampType: pb.TimestampType_TIMESTAMP_TYPE_CREATE_TIME}
	for range frame {
		batch.Values = append(batch.Values, make([]byte, 200))
		batch.Keys = append(batch.Keys, make([]byte, 8))
		batch.Timestamps = append(batch.Timestamps, 1_700_000_000_000)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range frames {
		batch.FirstOffset = i * frame
		var err error
		if data, err = proto.Marshal(&pb.HostFrame{Frame: &pb.HostFrame_Batch{Batch: batch}}); err != nil {
			b.Fatal(err)
		}
		parsed := &pb.HostFrame{}
		if err := proto.Unmarshal(data, parsed); err != nil {
			b.Fatal(err)
		}
		stream.Say(parsed)
	}
	<-done
	b.StopTimer()
	stop()
	<-served
}
