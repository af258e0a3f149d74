package clients;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** What a case asks for (docs/conformance.md): words as {@code name=value}, with the parts of a value after colons. */
record Words(Map<String, String> values) {
    static Words of(String text) {
        Map<String, String> values = new HashMap<>();
        for (String word : text.trim().split("\\s+")) {
            String[] parts = word.split("=", 2);
            values.put(parts[0], parts.length > 1 ? parts[1] : "");
        }
        return new Words(values);
    }

    boolean has(String name) {
        return values.containsKey(name);
    }

    String text(String name) {
        return values.get(name);
    }

    long number(String name) {
        return Long.parseLong(values.getOrDefault(name, "0"));
    }

    /** The parts of a word. */
    List<String> parts(String name) {
        return has(name) ? List.of(text(name).split(":", -1)) : List.of();
    }

    /** Whether a word concerns this record, or each. */
    boolean about(String name, long offset) {
        List<String> parts = parts(name);
        return !parts.isEmpty() && (parts.get(0).equals("each") || parts.get(0).equals(Long.toString(offset)));
    }

    /** The parts after the offset of a word that concerns this record. */
    Optional<List<String>> at(String name, long offset) {
        List<String> parts = parts(name);
        boolean concerns = !parts.isEmpty() && parts.get(0).equals(Long.toString(offset));
        return concerns ? Optional.of(parts.subList(1, parts.size())) : Optional.empty();
    }
}
