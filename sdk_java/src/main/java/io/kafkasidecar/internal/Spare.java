package io.kafkasidecar.internal;

import io.kafkasidecar.v1.Assigned;
import io.kafkasidecar.v1.Available;
import io.kafkasidecar.v1.Closed;
import io.kafkasidecar.v1.ClosedReason;
import io.kafkasidecar.v1.HostFrame;
import io.kafkasidecar.v1.LambdaFrame;
import io.kafkasidecar.v1.Offer;
import io.kafkasidecar.v1.Welcome;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * A stream without a partition. The offering thread waits for its frames; gRPC's thread puts them in a queue. The frame
 * after Assigned is asked for only when the life has taken the stream over, so none gets lost between the two.
 */
final class Spare implements Receiver {
    private static final int WELCOME_SECONDS = 30;
    /** The sidecar sends an empty frame every 3 s. Without one for so long it hangs, or the line is dead. */
    private static final int SILENCE_SECONDS = 10;

    private static final int FOREVER_SECONDS = 1_000_000;

    /** What comes: a frame, or the end (null) for a reason (null: in order), or the client's wish to stop. */
    private record Event(HostFrame frame, RuntimeException why, boolean stop) {}

    /** The client stops: nothing more is waited for. */
    static final class StoppedException extends Exception {
        private static final long serialVersionUID = 1L;
    }

    /** The sidecar does not answer although its connection stands. */
    static final class SilenceException extends Exception {
        private static final long serialVersionUID = 1L;
    }

    private final BlockingQueue<Event> events = new LinkedBlockingQueue<>();
    private final Stream stream;
    private boolean beats; // whether the sidecar sends empty frames; only the offering thread uses it

    Spare(Connection connection, Offer offer) {
        this.stream = connection.open(this);
        stream.send(LambdaFrame.newBuilder().setOffer(offer).build());
    }

    Stream stream() {
        return stream;
    }

    void sendAvailable() {
        stream.send(LambdaFrame.newBuilder()
                .setAvailable(Available.getDefaultInstance())
                .build());
    }

    Welcome awaitWelcome() throws InterruptedException, StoppedException, SilenceException {
        HostFrame frame = await(HostFrame.FrameCase.WELCOME, WELCOME_SECONDS);
        stream.request();
        return frame.getWelcome();
    }

    Assigned awaitAssigned() throws InterruptedException, StoppedException, SilenceException {
        return await(HostFrame.FrameCase.ASSIGNED, FOREVER_SECONDS).getAssigned();
    }

    private HostFrame await(HostFrame.FrameCase wanted, int seconds)
            throws InterruptedException, StoppedException, SilenceException {
        while (true) {
            Event event = events.poll(beats ? SILENCE_SECONDS : seconds, TimeUnit.SECONDS);
            if (event == null && beats) {
                throw new SilenceException();
            } else if (event == null) {
                throw new LinkException("no " + wanted + " came within " + seconds + " s");
            } else if (event.stop) {
                throw new StoppedException();
            } else if (event.frame == null) {
                throw event.why != null ? event.why : new LinkException("the sidecar ended the stream");
            }
            HostFrame.FrameCase came = event.frame.getFrameCase();
            if (came == wanted) {
                return event.frame;
            } else if (came != HostFrame.FrameCase.FRAME_NOT_SET) {
                throw new LinkException(came + " came before " + wanted);
            }
            beats |= wanted == HostFrame.FrameCase.ASSIGNED;
            stream.request();
        }
    }

    /** Has the thread that waits here throw {@link StoppedException}. Any thread may call it. */
    void stop() {
        events.add(new Event(null, null, true));
    }

    /** Ends the stream: in order, when the process stops; otherwise at once. */
    void end(boolean stopping, Work work) {
        if (!stopping) {
            stream.cancel("the client starts anew");
            return;
        }
        Closed closed = Closed.newBuilder()
                .setReason(ClosedReason.CLOSED_REASON_STOPPED)
                .build();
        stream.send(LambdaFrame.newBuilder().setClosed(closed).build());
        stream.halfClose();
        work.tick(1000, () -> stream.cancel("no status came after Closed"));
    }

    @Override
    public void frame(HostFrame frame) {
        events.add(new Event(frame, null, false));
    }

    @Override
    public void over(RuntimeException why) {
        events.add(new Event(null, why, false));
    }
}
