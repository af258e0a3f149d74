package io.kafkasidecar.internal;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

class TextsTest {
    @Test
    void clipsBetweenCharacters() {
        assertEquals("abc", Texts.clip("abc", 3));
        assertEquals("ab", Texts.clip("abc", 2));
        assertEquals("a", Texts.clip("aä", 2));
        assertEquals("aä", Texts.clip("aäb", 3));
        assertEquals("", Texts.clip("😀", 3));
        assertTrue(Texts.clip("ä".repeat(9000), Texts.MAX_MESSAGE).getBytes(UTF_8).length <= Texts.MAX_MESSAGE);
    }

    @Test
    void escapesWhatATerminalActsOn() {
        assertEquals("\\u001b[31mred\\u000a\\u202e", Texts.safe("\u001b[31mred\n\u202e", false));
        assertEquals("a\n\tb\\u000d", Texts.safe("a\n\tb\r", true));
        assertEquals("plain ä", Texts.safe("plain ä", false));
    }

    @Test
    void anErrorWithoutATextHasItsType() {
        assertEquals("java.lang.IllegalStateException", Texts.messageOf(new IllegalStateException()));
        assertTrue(Texts.messageOf(new Broken()).contains("without a readable text"));
        assertTrue(Texts.stackOf(new Broken()).contains("not readable"));
    }

    private static final class Broken extends RuntimeException {
        private static final long serialVersionUID = 1L;

        @Override
        public String getMessage() {
            throw new IllegalStateException("broken");
        }
    }
}
