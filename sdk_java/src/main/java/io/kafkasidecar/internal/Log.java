package io.kafkasidecar.internal;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;

/** The log of one lambda, or of one of its partitions: each line begins with the name. */
final class Log {
    private static final Logger LOGGER = System.getLogger("io.kafkasidecar");

    private final String prefix;

    Log(String prefix) {
        this.prefix = prefix + ": ";
    }

    void info(String text, Object... arguments) {
        write(Level.INFO, null, text, arguments);
    }

    void debug(String text, Object... arguments) {
        write(Level.DEBUG, null, text, arguments);
    }

    void warn(String text, Object... arguments) {
        write(Level.WARNING, null, text, arguments);
    }

    void error(Throwable error, String text, Object... arguments) {
        write(Level.ERROR, error, text, arguments);
    }

    /** Writes a line. The stack of {@code error} is written as text, since its messages may hold remote bytes. */
    void write(Level level, Throwable error, String text, Object... arguments) {
        if (!LOGGER.isLoggable(level)) {
            return;
        }
        String line = Texts.safe(prefix + String.format(text, arguments), false);
        String stack =
                error == null ? "" : "\n" + Texts.safe(Texts.stackOf(error).stripTrailing(), true);
        LOGGER.log(level, () -> line + stack); // a supplier: java.util.logging takes braces in a text for a format
    }
}
