package io.kafkasidecar.testing;

import java.util.OptionalLong;

/**
 * What the sidecar was told by an error, a report, or an exception of the lambda.
 *
 * @param action what is asked for
 * @param offset the message that it is about; empty: none
 * @param code {@code lambda_error}, {@code handler_failed}, {@code create_failed} or {@code produce_failed}
 * @param message the exception's text
 * @param type the name of the exception's class
 */
public record LambdaError(Action action, OptionalLong offset, String code, String message, String type) {
    /** What an error asks for. */
    public enum Action {
        /** A new lambda after the checkpoint. */
        RESTART,
        /** What the lambda's {@code on_critical} policy says. */
        CRITICAL,
        /** Nothing: the lambda goes on. */
        REPORT
    }
}
