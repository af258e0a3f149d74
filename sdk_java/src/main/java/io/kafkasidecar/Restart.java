package io.kafkasidecar;

/** Whether an error may go away when the partition's lambda starts again. */
public enum Restart {
    /** Recoverable, such as a database that is away: a new lambda starts after the checkpoint, after a back-off. */
    YES,
    /** Critical: it fails again, whoever tries. The lambda's {@code on_critical} policy decides. */
    NO
}
