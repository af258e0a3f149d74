"""Names of the contract's numbers."""

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper


def name_of(enum: EnumTypeWrapper, number: int) -> str:
    """The name of a number; the number itself when it is not known here, such as one of a newer version."""
    return enum.Name(number) if number in enum.values() else str(number)
