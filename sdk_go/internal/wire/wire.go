// Package wire is all that the SDK needs of a sidecar: streams and three calls. [Connection] has them over gRPC, package
// sidecartest in memory.
package wire

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "kafka-sidecar.example/sdk_go/protocol"
)

// MaxMessageBytes is the largest message that the SDK receives. The Offer says so.
const MaxMessageBytes = 64 << 20

// Stream is one Serve call. One goroutine at a time may send, and another one receive.
type Stream interface {
	// Send returns io.EOF when the stream is over; Recv tells why.
	Send(*pb.LambdaFrame) error
	// Recv returns io.EOF when the sidecar ended the stream in order, and otherwise an error with a status.
	Recv() (*pb.HostFrame, error)
	// CloseSend says that nothing more will be sent.
	CloseSend() error
}

// Sidecar is the sidecar as a lambda process sees it. Its errors have a gRPC status.
type Sidecar interface {
	// Serve opens a stream, which breaks when ctx ends.
	Serve(ctx context.Context) (Stream, error)
	Checkpoint(context.Context, *pb.CheckpointRequest) (*pb.CheckpointResponse, error)
	Error(context.Context, *pb.ErrorRequest) (*pb.ErrorResponse, error)
	Produce(context.Context, *pb.ProduceRequest) (*pb.ProduceResponse, error)
	// Close ends all connections.
	Close()
}

// Watcher is a Sidecar that is told what is still going on, so that a test can wait until nothing is.
type Watcher interface {
	// Busy gets 1 when something begins (a handler, a checkpoint that is not answered yet, ...), and -1 when it is over.
	Busy(change int)
}

// Refuses reports whether the status of err does not go away by asking again.
func Refuses(err error) bool {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.NotFound, codes.FailedPrecondition, codes.Unauthenticated,
		codes.PermissionDenied, codes.Unimplemented:
		return true
	}
	return false
}

// TooLarge reports whether gRPC refuses a message for its size, and will refuse it again.
func TooLarge(err error) bool {
	return status.Code(err) == codes.ResourceExhausted
}
