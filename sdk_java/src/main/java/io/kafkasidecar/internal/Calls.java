package io.kafkasidecar.internal;

import io.kafkasidecar.v1.ErrorRequest;
import io.kafkasidecar.v1.ErrorResponse;
import io.kafkasidecar.v1.ProduceRequest;
import io.kafkasidecar.v1.ProduceResponse;
import java.util.concurrent.CompletableFuture;

/** The calls that a lease makes beside its stream. Each fails with a {@link LinkException} or a RefusedException. */
public interface Calls {
    /** Calls Error. */
    CompletableFuture<ErrorResponse> error(ErrorRequest request);

    /** Calls Produce, with a deadline in milliseconds. */
    CompletableFuture<ProduceResponse> produce(ProduceRequest request, long deadlineMillis);
}
