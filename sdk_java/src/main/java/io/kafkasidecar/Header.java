package io.kafkasidecar;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** A header of a record. Its name is bytes, since Kafka does not promise that it is UTF-8. Immutable. */
public final class Header {
    private final byte[] name;
    private final byte[] value;

    private Header(byte[] name, byte[] value) {
        this.name = name;
        this.value = value;
    }

    /**
     * Makes a header.
     *
     * @param name its name
     * @param value its value, which may be null
     * @return the header
     */
    public static Header of(String name, byte[] value) {
        return of(name.getBytes(StandardCharsets.UTF_8), value);
    }

    /**
     * Makes a header whose name may be any bytes. The arrays are copied.
     *
     * @param name its name
     * @param value its value, which may be null
     * @return the header
     */
    public static Header of(byte[] name, byte[] value) {
        return new Header(name.clone(), value == null ? null : value.clone());
    }

    /**
     * The name as a text. Bytes that are not UTF-8 are replaced; {@link #nameBytes} has them as they came.
     *
     * @return the name
     */
    public String name() {
        return new String(name, StandardCharsets.UTF_8);
    }

    /**
     * The name as it is in Kafka.
     *
     * @return a copy of the bytes
     */
    public byte[] nameBytes() {
        return name.clone();
    }

    /**
     * The value.
     *
     * @return a copy of the bytes, or null, which is not the same as empty
     */
    public byte[] value() {
        return value == null ? null : value.clone();
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Header header && Arrays.equals(name, header.name) && Arrays.equals(value, header.value);
    }

    @Override
    public int hashCode() {
        return 31 * Arrays.hashCode(name) + Arrays.hashCode(value);
    }

    @Override
    public String toString() {
        return name() + "=" + (value == null ? "null" : value.length + " bytes");
    }
}
