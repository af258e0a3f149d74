package io.kafkasidecar;

import io.kafkasidecar.internal.SettingsJson;
import java.util.Map;
import java.util.Optional;

/**
 * A lambda's settings: {@code settings} of the sidecar's config, overridden by environment variables {@code
 * KAFKA_SIDECAR_SET_name=value} ({@code __} goes one level down). Immutable at all levels.
 *
 * <p>Values are {@code String}, {@code Long}, {@code Double}, {@code Boolean}, {@code Map}, {@code List}, or null.
 */
public final class Settings {
    private final Map<String, Object> values;

    private Settings(Map<String, Object> values) {
        this.values = values;
    }

    /**
     * Reads settings, such as for a test.
     *
     * @param json a JSON object
     * @param environment environment variables; those with the prefix override the object
     * @return the settings
     * @throws SettingsException when {@code json} is no JSON object
     */
    public static Settings of(String json, Map<String, String> environment) {
        return new Settings(SettingsJson.layered(json, environment));
    }

    /**
     * All settings.
     *
     * @return a read-only map
     */
    public Map<String, Object> asMap() {
        return values;
    }

    /**
     * One setting.
     *
     * @param path its name; a dot goes one level down
     * @return its value; empty: there is none, or it is null
     */
    public Optional<Object> get(String path) {
        Object value = values;
        for (String part : path.split("\\.", -1)) {
            value = value instanceof Map<?, ?> map ? map.get(part) : null;
        }
        return Optional.ofNullable(value);
    }

    /**
     * A setting as a text; a map or a list is written as JSON.
     *
     * @param path its name; a dot goes one level down
     * @return the text; empty: there is none, or it is null
     */
    public Optional<String> text(String path) {
        return get(path).map(value -> value instanceof String text ? text : SettingsJson.written(value));
    }

    /**
     * A setting that has to be there.
     *
     * @param path its name; a dot goes one level down
     * @return its text
     * @throws SettingsException when it is absent
     */
    public String required(String path) {
        return text(path)
                .orElseThrow(() -> new SettingsException("the setting " + path
                        + " is missing: add it to the lambda's settings in the sidecar's config, or set the environment"
                        + " variable KAFKA_SIDECAR_SET_" + path.replace(".", "__")));
    }

    /**
     * A setting that is a number.
     *
     * @param path its name; a dot goes one level down
     * @param otherwise the number when it is absent
     * @return the number
     * @throws SettingsException when it is something else
     */
    public double number(String path, double otherwise) {
        Object value = get(path).orElse(otherwise);
        if (value instanceof Number number) {
            return number.doubleValue();
        }
        throw new SettingsException(
                "the setting " + path + " has to be a number, and is " + SettingsJson.written(value));
    }

    @Override
    public String toString() {
        return "settings " + values.keySet(); // values may be secret
    }
}
