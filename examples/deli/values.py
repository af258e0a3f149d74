"""Values: dataclasses that never change."""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """A frozen dataclass with slots, frozen for mypy alone.

    Several are made for each operation, and to make one that is frozen at run time too takes four times as long.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)  # safe, since it never changes
