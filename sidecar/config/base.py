"""The base of all config models: they are frozen, refuse unknown keys, and report every mistake at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

Loc = tuple[str | int, ...]


class Wrong(NamedTuple):
    """One mistake found by a model's own check."""

    loc: Loc
    """The path of the value, from the model down."""
    message: str
    """The problem and what was expected."""
    hint: str = ""
    """The remedy; may be empty."""
    line: int | None = None
    """The line in the file, if it is known already."""


def mistake(message: str, hint: str = "") -> PydanticCustomError:
    """The error that a field validator raises, with the problem and the remedy."""
    return PydanticCustomError("mistake", "{message}", {"message": message, "hint": hint})


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The text `did you mean X?` with the closest of the known names; empty when none is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else ""


class Section(BaseModel):
    """A section of the config.

    pydantic runs a model's own checks only when all its fields are right, so a typo would hide other mistakes.
    Here `mistakes` checks the raw mapping and always runs; its findings are added to pydantic's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)

    @classmethod
    def mistakes(cls, data: Mapping[Any, Any]) -> Iterator[Wrong]:
        """Find mistakes that concern several keys at once. ``data`` is raw: any value may be of any type."""
        del data
        return iter(())

    @model_validator(mode="wrap")
    @classmethod
    def _all_at_once(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        found: list[InitErrorDetails] = []
        made: Self | None = None
        try:
            made = handler(data)
        except ValidationError as error:
            for one in error.errors(include_url=False):
                # Unknown keys are reported below, with the closest known key.
                if one["type"] in {"extra_forbidden", "invalid_key"} and len(one["loc"]) == 1:
                    continue
                context = {**one.get("ctx", {}), "message": one["msg"]}
                kind = PydanticCustomError(one["type"], "{message}", context)
                found.append(InitErrorDetails(type=kind, loc=one["loc"], input=one["input"]))
        if isinstance(data, Mapping):
            for wrong in (*cls._unknown_keys(data), *cls.mistakes(data)):
                kind = mistake(wrong.message, wrong.hint)
                found.append(InitErrorDetails(type=kind, loc=wrong.loc, input=None))
        if made is None or found:
            raise ValidationError.from_exception_data(cls.__name__, found)
        return made

    @classmethod
    def where_else(cls, key: str) -> str:
        """The remedy for a key that belongs elsewhere; empty: that is not known."""
        del key
        return ""

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """The keys of this section, in the order of the documentation."""
        names: list[str] = []
        for name, field in cls.model_fields.items():
            alias = field.validation_alias
            names += [str(a) for a in alias.choices] if isinstance(alias, AliasChoices) else [name]
        return tuple(names)

    @classmethod
    def _unknown_keys(cls, data: Mapping[Any, Any]) -> Iterator[Wrong]:
        known = cls.keys()
        for key in data:
            if not isinstance(key, str):
                # YAML 1.1 reads on, off, yes and no as booleans.
                yield Wrong((str(key),), f"a key must be text, this is {key!r}", "put it in quotes")
            elif key not in known:
                hint = did_you_mean(key, known) or cls.where_else(key) or f"known here: {', '.join(known)}"
                yield Wrong((key,), "unknown key", hint)
