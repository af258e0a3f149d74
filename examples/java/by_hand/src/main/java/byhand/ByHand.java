package byhand;

import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.stub.StreamObserver;
import io.kafkasidecar.v1.Available;
import io.kafkasidecar.v1.Batch;
import io.kafkasidecar.v1.CheckpointRequest;
import io.kafkasidecar.v1.Closed;
import io.kafkasidecar.v1.ClosedReason;
import io.kafkasidecar.v1.HostFrame;
import io.kafkasidecar.v1.LambdaFrame;
import io.kafkasidecar.v1.LambdaHostGrpc;
import io.kafkasidecar.v1.Offer;
import io.kafkasidecar.v1.Ready;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;

/** A lambda without the SDK: only gRPC and the generated code. One partition, whose values it prints. */
final class ByHand implements StreamObserver<HostFrame> {
    private final LambdaHostGrpc.LambdaHostStub stub;
    private final StreamObserver<LambdaFrame> out;
    private final CountDownLatch over = new CountDownLatch(1);
    private String lease = "";

    private ByHand(String name, ManagedChannel streams, ManagedChannel calls) {
        stub = LambdaHostGrpc.newStub(calls);
        out = LambdaHostGrpc.newStub(streams).serve(this);
        out.onNext(LambdaFrame.newBuilder()
                .setOffer(Offer.newBuilder()
                        .setLambdaName(name)
                        .setProcessId(UUID.randomUUID().toString())
                        .setProtocolVersion(1))
                .build());
    }

    @Override
    public void onNext(HostFrame frame) {
        switch (frame.getFrameCase()) {
            case WELCOME -> // load what you need, then say that you can take a partition
                out.onNext(LambdaFrame.newBuilder()
                        .setAvailable(Available.getDefaultInstance())
                        .build());
            case ASSIGNED -> {
                lease = frame.getAssigned().getLease();
                out.onNext(LambdaFrame.newBuilder()
                        .setReady(Ready.newBuilder().setLease(lease))
                        .build());
            }
            case BATCH -> {
                Batch batch = frame.getBatch();
                batch.getValuesList().forEach(value -> System.out.println(value.toStringUtf8()));
                int count = batch.getOffsetsCount();
                long last = count > 0
                        ? batch.getOffsets(count - 1)
                        : batch.getFirstOffset() + batch.getValuesCount() - 1;
                CheckpointRequest.Builder request = CheckpointRequest.newBuilder();
                request.addEntriesBuilder().setLease(lease).setOffset(last);
                stub.checkpoint(request.build(), new Ignoring<>());
            }
            case REVOKED -> {
                Closed.Builder closed = Closed.newBuilder().setReason(ClosedReason.CLOSED_REASON_REVOKED);
                out.onNext(LambdaFrame.newBuilder().setClosed(closed).build());
                out.onCompleted();
            }
            default -> {} // an empty frame, or a kind of a newer contract
        }
    }

    @Override
    public void onError(Throwable error) {
        System.err.println("the stream broke: " + error.getMessage());
        over.countDown();
    }

    @Override
    public void onCompleted() {
        over.countDown();
    }

    /** A checkpoint that does not get through is followed by the next one. */
    private static final class Ignoring<T> implements StreamObserver<T> {
        @Override
        public void onNext(T answer) {}

        @Override
        public void onError(Throwable error) {
            System.err.println("no checkpoint: " + error.getMessage());
        }

        @Override
        public void onCompleted() {}
    }

    public static void main(String[] arguments) throws InterruptedException {
        String address = arguments.length > 1 ? arguments[1] : "127.0.0.1:50051";
        ManagedChannel streams = Grpc.newChannelBuilder(address, InsecureChannelCredentials.create())
                .build();
        ManagedChannel calls = Grpc.newChannelBuilder(address, InsecureChannelCredentials.create())
                .build();
        new ByHand(arguments[0], streams, calls).over.await();
        streams.shutdownNow();
        calls.shutdownNow();
    }
}
