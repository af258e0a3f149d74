package io.kafkasidecar.internal;

import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.kafkasidecar.RefusedException;
import io.kafkasidecar.v1.CheckpointRequest;
import io.kafkasidecar.v1.CheckpointResponse;
import io.kafkasidecar.v1.ErrorRequest;
import io.kafkasidecar.v1.ErrorResponse;
import io.kafkasidecar.v1.LambdaHostGrpc;
import io.kafkasidecar.v1.ProduceRequest;
import io.kafkasidecar.v1.ProduceResponse;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** All channels to one sidecar. Streams and calls have connections of their own: no checkpoint waits for records. */
final class Connection implements Calls {
    private static final int STREAMS_PER_CHANNEL = 64; // servers and proxies often end at 100
    private static final long CALL_MS = 10_000;
    private static final Metadata.Key<String> AUTHORIZATION =
            Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

    private final Endpoint endpoint;
    private final EventLoopGroup loops = Endpoint.loops();
    private final Map<ManagedChannel, Integer> streaming = new LinkedHashMap<>(); // guarded by this, like `calls`
    private ManagedChannel calls;

    Connection(Endpoint endpoint) {
        this.endpoint = endpoint;
        this.calls = endpoint.channel(loops);
    }

    /** Opens a Serve stream on the first channel with room. */
    synchronized Stream open(Receiver receiver) {
        ManagedChannel channel = streaming.entrySet().stream()
                .filter(entry -> entry.getValue() < STREAMS_PER_CHANNEL)
                .map(Map.Entry::getKey)
                .findFirst()
                .orElseGet(() -> endpoint.channel(loops));
        streaming.merge(channel, 1, Integer::sum);
        channel.resetConnectBackoff(); // ours decides; gRPC's grows to two minutes
        return new Stream(
                channel.newCall(Stream.SERVE, CallOptions.DEFAULT), headers(), receiver, () -> release(channel));
    }

    private synchronized void release(ManagedChannel channel) {
        streaming.computeIfPresent(channel, (key, streams) -> streams - 1);
    }

    /** Ends all connections at once, since the sidecar does not answer; the next ones are new. */
    void reset() {
        List<ManagedChannel> old;
        synchronized (this) {
            old = new ArrayList<>(streaming.keySet());
            old.add(calls);
            streaming.clear();
            calls = endpoint.channel(loops);
        }
        old.forEach(ManagedChannel::shutdownNow);
    }

    /** Closes all channels, and waits a little until the last frames are out. */
    synchronized void close() {
        List<ManagedChannel> all = new ArrayList<>(streaming.keySet());
        all.add(calls);
        all.forEach(ManagedChannel::shutdownNow);
        loops.shutdownGracefully(0, 1, TimeUnit.SECONDS);
    }

    CompletableFuture<CheckpointResponse> checkpoint(CheckpointRequest request) {
        return call(LambdaHostGrpc.getCheckpointMethod(), request, CALL_MS);
    }

    @Override
    public CompletableFuture<ErrorResponse> error(ErrorRequest request) {
        return call(LambdaHostGrpc.getErrorMethod(), request, CALL_MS);
    }

    @Override
    public CompletableFuture<ProduceResponse> produce(ProduceRequest request, long deadlineMillis) {
        return call(LambdaHostGrpc.getProduceMethod(), request, deadlineMillis);
    }

    private <Q, A> CompletableFuture<A> call(MethodDescriptor<Q, A> method, Q request, long deadlineMillis) {
        ManagedChannel channel;
        synchronized (this) {
            channel = calls;
        }
        channel.resetConnectBackoff();
        CompletableFuture<A> answer = new CompletableFuture<>();
        ClientCall<Q, A> call =
                channel.newCall(method, CallOptions.DEFAULT.withDeadlineAfter(deadlineMillis, TimeUnit.MILLISECONDS));
        call.start(new Answer<>(answer), headers());
        call.sendMessage(request);
        call.halfClose();
        call.request(2); // the answer, and the end
        return answer;
    }

    /** Completes a future with the one message of a call, when its status has come. */
    private static final class Answer<A> extends ClientCall.Listener<A> {
        private final CompletableFuture<A> answer;
        private A message;

        Answer(CompletableFuture<A> answer) {
            this.answer = answer;
        }

        @Override
        public void onMessage(A came) {
            message = came;
        }

        @Override
        public void onClose(Status status, Metadata trailers) {
            if (!status.isOk()) {
                answer.completeExceptionally(translated(status));
            } else if (message == null) {
                answer.completeExceptionally(new LinkException("the call ended without an answer"));
            } else {
                answer.complete(message);
            }
        }
    }

    private Metadata headers() {
        Metadata headers = new Metadata();
        if (endpoint.token() != null) {
            headers.put(AUTHORIZATION, "Bearer " + endpoint.token());
        }
        return headers;
    }

    /** Decides by the status alone whether asking again may help: a LinkException, or not: a RefusedException. */
    static RuntimeException translated(Status status) {
        String details = status.getDescription() == null ? "no reason given" : status.getDescription();
        return switch (status.getCode()) {
            case INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION, UNAUTHENTICATED, PERMISSION_DENIED, UNIMPLEMENTED ->
                new RefusedException(status.getCode().name(), details);
            default -> {
                Throwable cause = status.getCause();
                String because = cause == null ? "" : " (" + Texts.messageOf(cause) + ")";
                boolean tooLarge = status.getCode() == Status.Code.RESOURCE_EXHAUSTED;
                yield new LinkException(status.getCode() + ": " + details + because, cause, tooLarge);
            }
        };
    }
}
