package io.kafkasidecar.internal;

import io.kafkasidecar.LambdaFactory;
import io.kafkasidecar.ResourceFactory;
import java.util.Map;
import java.util.concurrent.ThreadFactory;

/** What a client is made of, as the builder has it. */
public record Options<R>(
        String name,
        ResourceFactory<R> resources,
        LambdaFactory<R> lambdas,
        Endpoint endpoint,
        Map<String, String> environment,
        String lambdaVersion,
        int maxPartitions,
        long drainMillis,
        ThreadFactory threads) {}
