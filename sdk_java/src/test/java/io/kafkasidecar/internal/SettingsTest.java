package io.kafkasidecar.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.kafkasidecar.Settings;
import io.kafkasidecar.SettingsException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class SettingsTest {
    private static Settings settings(String json, String... environment) {
        Map<String, String> variables = new HashMap<>(Map.of("HOME", "/"));
        for (String variable : environment) {
            String[] parts = variable.split("=", 2);
            variables.put("KAFKA_SIDECAR_SET_" + parts[0], parts[1]);
        }
        return Settings.of(json, variables);
    }

    @Test
    void valuesHaveTheirTypes() {
        Settings settings = settings("{\"a\": {\"b\": [1, 2.5, true, null]}, \"c\": \"5\", \"big\": 9007199254740993}");
        Object list = settings.get("a.b").orElseThrow();
        assertEquals(4, ((List<?>) list).size());
        assertEquals(List.of(1L, 2.5, true), ((List<?>) list).subList(0, 3));
        assertEquals(Optional.of("5"), settings.text("c"));
        assertEquals(Optional.of("[1,2.5,true,null]"), settings.text("a.b"));
        assertEquals(Optional.of("9007199254740993"), settings.text("big"));
        assertThrows(UnsupportedOperationException.class, () -> settings.asMap().clear());
    }

    @Test
    void theEnvironmentOverrides() {
        Settings settings = settings(
                "{\"mongo\": {\"url\": \"old\"}, \"n\": 1}",
                "MONGO__URL=mongodb://x",
                "n=5",
                "s=\"5\"",
                "new__deep=yes");
        assertEquals(Optional.of("mongodb://x"), settings.text("mongo.url"));
        assertEquals(5, settings.number("n", 0));
        assertEquals(Optional.of("5"), settings.get("s"));
        assertEquals(Optional.of("yes"), settings.get("new.deep"));
        assertEquals(Optional.empty(), settings.get("HOME"));
    }

    @Test
    void whatIsNoJsonIsText() {
        assertEquals(Optional.of("NaN"), settings("", "x=NaN").get("x"));
        assertEquals(Optional.of("{a: 1}"), settings("", "x={a: 1}").get("x"));
        assertEquals(Optional.of(""), settings("", "x=").get("x"));
        assertEquals(Optional.of("1 2"), settings("", "x=1 2").get("x"));
    }

    @Test
    void mistakesAreNamed() {
        assertThrows(SettingsException.class, () -> settings("[1]"));
        assertThrows(SettingsException.class, () -> settings("{"));
        assertThrows(SettingsException.class, () -> settings("{}", "a____b=1"));
        assertThrows(SettingsException.class, () -> settings("{}").required("url"));
        assertThrows(SettingsException.class, () -> settings("{\"n\": \"x\"}").number("n", 1));
    }
}
