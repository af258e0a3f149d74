package io.kafkasidecar.internal;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.PrintWriter;
import java.io.StringWriter;

/** Texts for the wire, which bounds them, and for logs, where nothing may act on a terminal. */
final class Texts {
    static final int MAX_MESSAGE = 8 * 1024;
    static final int MAX_TYPE = 256;
    static final int MAX_STACK = 32 * 1024;

    private Texts() {}

    /** Cuts a text to so many bytes of UTF-8, between two characters. */
    static String clip(String text, int limit) {
        if (text.length() * 3L <= limit) {
            return text;
        }
        byte[] bytes = text.getBytes(UTF_8);
        if (bytes.length <= limit) {
            return text;
        }
        int end = limit;
        while (end > 0 && (bytes[end] & 0xC0) == 0x80) {
            end--; // the first byte that is cut off is in the middle of a character
        }
        return new String(bytes, 0, end, UTF_8);
    }

    /** An error's text for people. Never throws, whatever the exception's own methods do. */
    static String messageOf(Throwable error) {
        try {
            String text = error.getMessage();
            return clip(text == null || text.isEmpty() ? typeOf(error) : text, MAX_MESSAGE);
        } catch (RuntimeException broken) {
            return "an error of type " + typeOf(error) + " without a readable text";
        }
    }

    static String typeOf(Throwable error) {
        return clip(error.getClass().getName(), MAX_TYPE);
    }

    /** The stack with its causes; if it is too long, its beginning, where Java has the throw. */
    static String stackOf(Throwable error) {
        StringWriter text = new StringWriter();
        try {
            error.printStackTrace(new PrintWriter(text, true));
        } catch (RuntimeException broken) {
            text.append("the rest of the stack is not readable");
        }
        return clip(text.toString(), MAX_STACK);
    }

    /** Escapes what a terminal would act on; {@code lines}: line ends and tabs stay. */
    static String safe(String text, boolean lines) {
        StringBuilder safe = null;
        for (int at = 0; at < text.length(); at++) {
            char letter = text.charAt(at);
            boolean acts = Character.isISOControl(letter) || Character.getType(letter) == Character.FORMAT;
            if (acts && !(lines && (letter == '\n' || letter == '\t'))) {
                safe = safe == null ? new StringBuilder(text.length() + 16).append(text, 0, at) : safe;
                safe.append(String.format("\\u%04x", (int) letter));
            } else if (safe != null) {
                safe.append(letter);
            }
        }
        return safe == null ? text : safe.toString();
    }
}
