"""Names of headers: bytes for Kafka, text for the Python binding, which cannot write all of them."""

HAS_NUL = "a header name has a NUL, where the Kafka client would cut it"
NOT_UTF8 = "a header name is not UTF-8, which the Kafka client cannot write"


def writable(name: bytes) -> str:
    """The name as the binding takes it.

    To be called first: the binding would cut a name at a NUL, write bytes as their `repr`, and crash the process at a
    lone surrogate.

    Raises ``ValueError`` when the name cannot be written byte for byte; the text says why.
    """
    if b"\0" in name:
        raise ValueError(HAS_NUL)
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise ValueError(NOT_UTF8) from None
