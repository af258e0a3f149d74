package io.kafkasidecar.internal;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonPrimitive;
import com.google.gson.Strictness;
import com.google.gson.stream.JsonReader;
import com.google.gson.stream.JsonToken;
import io.kafkasidecar.SettingsException;
import java.io.IOException;
import java.io.StringReader;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Settings in layers: the sidecar's JSON below, the environment's overrides above. */
public final class SettingsJson {
    private static final String PREFIX = "KAFKA_SIDECAR_SET_";
    private static final Gson GSON = new GsonBuilder()
            .serializeNulls()
            .disableHtmlEscaping()
            .setStrictness(Strictness.STRICT)
            .create();

    private SettingsJson() {}

    /** Merges the layers in one map that is read-only at all levels. */
    public static Map<String, Object> layered(String json, Map<String, String> environment) {
        JsonObject settings = settingsOf(json);
        new TreeMap<>(environment).forEach((name, text) -> { // sorted: the result does not depend on their order
            if (name.startsWith(PREFIX)) {
                put(settings, name, value(text));
            }
        });
        @SuppressWarnings("unchecked") // an object becomes a map with texts as keys
        Map<String, Object> plain = (Map<String, Object>) plain(settings);
        return plain;
    }

    /** Writes a value of {@link #layered} as JSON. */
    public static String written(Object value) {
        return GSON.toJson(value);
    }

    private static JsonObject settingsOf(String json) {
        try {
            if (parse(json.isEmpty() ? "{}" : json) instanceof JsonObject object) {
                return object;
            }
        } catch (IOException | JsonParseException | IllegalStateException error) {
            throw new SettingsException("the sidecar's settings are not JSON: " + Texts.messageOf(error));
        }
        throw new SettingsException("the sidecar's settings are no JSON object");
    }

    /** A value that is JSON is parsed; anything else is a text. */
    private static JsonElement value(String text) {
        try {
            return parse(text);
        } catch (IOException | JsonParseException | IllegalStateException notJson) {
            return new JsonPrimitive(text);
        }
    }

    private static JsonElement parse(String text) throws IOException {
        JsonReader reader = new JsonReader(new StringReader(text));
        reader.setStrictness(Strictness.STRICT);
        JsonElement element = GSON.getAdapter(JsonElement.class).read(reader);
        if (reader.peek() != JsonToken.END_DOCUMENT) {
            throw new JsonParseException("text follows the value");
        }
        return element;
    }

    private static void put(JsonObject settings, String name, JsonElement value) {
        String[] path = name.substring(PREFIX.length()).split("__", -1);
        JsonObject at = settings;
        for (int level = 0; level < path.length; level++) {
            if (path[level].isEmpty()) {
                throw new SettingsException("environment variable " + name + ": a part of the key is empty");
            }
            String key = spelling(at, path[level]);
            if (level == path.length - 1) {
                at.add(key, value);
            } else if (at.get(key) instanceof JsonObject below) {
                at = below;
            } else { // a plain value is replaced by an object
                JsonObject made = new JsonObject();
                at.add(key, made);
                at = made;
            }
        }
    }

    /** The key as it is there already, if it differs in nothing but case: KAFKA_SIDECAR_SET_MONGO__URL is mongo.url. */
    private static String spelling(JsonObject at, String key) {
        if (at.has(key)) {
            return key;
        }
        return at.keySet().stream().filter(key::equalsIgnoreCase).findFirst().orElse(key);
    }

    private static Object plain(JsonElement element) {
        if (element instanceof JsonObject object) {
            Map<String, Object> map = new LinkedHashMap<>();
            object.entrySet().forEach(entry -> map.put(entry.getKey(), plain(entry.getValue())));
            return Collections.unmodifiableMap(map);
        }
        if (element instanceof JsonArray array) {
            List<Object> list = new ArrayList<>();
            array.forEach(entry -> list.add(plain(entry)));
            return Collections.unmodifiableList(list);
        }
        if (!(element instanceof JsonPrimitive primitive)) {
            return null;
        }
        if (primitive.isString()) {
            return primitive.getAsString();
        }
        return primitive.isBoolean() ? (Object) primitive.getAsBoolean() : number(primitive.getAsString());
    }

    private static Number number(String text) {
        try {
            return Long.valueOf(text);
        } catch (NumberFormatException notWhole) {
            return new BigDecimal(text).doubleValue();
        }
    }
}
