"""Names of headers, which are bytes to Kafka and text to the client library: what that can write."""


def writable(name: bytes) -> str:
    """The name as the binding takes it.

    Asked before the binding is: it would cut a name at a NUL, write bytes as their `repr`, and end the process at a
    lone surrogate.

    Raises:
        ValueError: it cannot be written byte for byte; the text says why.
    """
    if b"\0" in name:
        raise ValueError("a header name has a NUL, where the Kafka client would cut it")
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise ValueError("a header name is not UTF-8, which the Kafka client cannot write") from None
