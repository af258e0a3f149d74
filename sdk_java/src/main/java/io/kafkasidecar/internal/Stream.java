package io.kafkasidecar.internal;

import com.google.protobuf.CodedInputStream;
import io.grpc.ClientCall;
import io.grpc.KnownLength;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.kafkasidecar.v1.HostFrame;
import io.kafkasidecar.v1.LambdaFrame;
import io.kafkasidecar.v1.LambdaHostGrpc;
import java.io.IOException;
import java.io.InputStream;

/** One Serve call. gRPC's thread reads; any thread may write. */
final class Stream implements Link {
    /**
     * Parses frames without a copy of their records: each is a view of the frame's bytes, until its message is made.
     */
    private static final MethodDescriptor.Marshaller<HostFrame> FRAMES = new MethodDescriptor.Marshaller<>() {
        @Override
        public InputStream stream(HostFrame frame) {
            return frame.toByteString().newInput();
        }

        @Override
        public HostFrame parse(InputStream stream) {
            try (stream) {
                byte[] bytes = stream instanceof KnownLength ? stream.readNBytes(stream.available()) : all(stream);
                CodedInputStream input = CodedInputStream.newInstance(bytes);
                input.enableAliasing(true);
                return HostFrame.parseFrom(input);
            } catch (IOException error) {
                throw Status.INTERNAL
                        .withDescription("HostFrame cannot be parsed")
                        .withCause(error)
                        .asRuntimeException();
            }
        }

        private byte[] all(InputStream stream) throws IOException {
            return stream.readAllBytes();
        }
    };

    static final MethodDescriptor<LambdaFrame, HostFrame> SERVE = LambdaHostGrpc.getServeMethod().toBuilder(
                    LambdaHostGrpc.getServeMethod().getRequestMarshaller(), FRAMES)
            .build();

    private final ClientCall<LambdaFrame, HostFrame> call;
    private final Runnable release;
    private Receiver receiver; // guarded by this, like the rest
    private boolean isOver;
    private RuntimeException why;
    private boolean writable = true;

    /** {@code release} is called once, when the stream is over. */
    Stream(ClientCall<LambdaFrame, HostFrame> call, Metadata headers, Receiver receiver, Runnable release) {
        this.call = call;
        this.receiver = receiver;
        this.release = release;
        call.start(new Listener(), headers);
        call.request(1);
    }

    /** Gives the frames to another receiver from now on. If the stream is over already, it is told at once. */
    void become(Receiver next) {
        synchronized (this) {
            receiver = next;
            if (!isOver) {
                return;
            }
        }
        next.over(why);
    }

    @Override
    public synchronized void send(LambdaFrame frame) {
        if (writable) {
            call.sendMessage(frame);
        }
    }

    @Override
    public void request() {
        call.request(1);
    }

    @Override
    public synchronized void halfClose() {
        if (writable) {
            writable = false;
            call.halfClose();
        }
    }

    @Override
    public synchronized void cancel(String reason) {
        writable = false;
        call.cancel(reason, null); // does nothing when the call is over
    }

    private final class Listener extends ClientCall.Listener<HostFrame> {
        @Override
        public void onMessage(HostFrame frame) {
            Receiver to;
            synchronized (Stream.this) {
                to = receiver;
            }
            to.frame(frame);
        }

        @Override
        public void onClose(Status status, Metadata trailers) {
            Receiver to;
            synchronized (Stream.this) {
                isOver = true;
                writable = false;
                why = status.isOk() ? null : Connection.translated(status);
                to = receiver;
            }
            release.run();
            to.over(why);
        }
    }
}
