"""Names of headers: bytes for Kafka, text for the Python binding, which cannot write all of them."""


def writable(name: bytes) -> str:
    """The name as the binding takes it.

    To be called first: the binding would cut a name at a NUL, write bytes as their `repr`, and crash the process at a
    lone surrogate.

    Raises ``ValueError`` when the name cannot be written byte for byte; the text says why.
    """
    if b"\0" in name:
        raise ValueError("a header name has a NUL, where the Kafka client would cut it")
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise ValueError("a header name is not UTF-8, which the Kafka client cannot write") from None
