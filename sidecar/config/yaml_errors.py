"""What PyYAML finds wrong, said for people: the cause and the remedy, and never the text of the file itself.

The text may be a password that begins with `!`, `*`, `&` or `@`. So nothing of a line is quoted.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import yaml

_QUOTED = re.compile(r"""(['"]).*\1""", re.DOTALL)
_CONFLICT = re.compile(r"(?m)^(<<<<<<<|>>>>>>>) ")


class YamlMistake(NamedTuple):
    """One syntax error."""

    message: str
    hint: str
    line: int | None


class _Known(NamedTuple):
    """An error of PyYAML, found by a part of its text, and what we say instead; empty: the error's text is ours."""

    part: str
    message: str
    hint: str
    from_start: bool = False
    """Whether the line is the one where what is wrong begins, and not the one where PyYAML gave up."""


_IN_QUOTES = "put the value in quotes"

_KNOWN = (
    _Known("found character '\\t'", "a tab where spaces are needed", "indent with spaces"),
    _Known("cannot start any token", "a value that begins with @, % or a backtick", _IN_QUOTES),
    _Known(
        "mapping values are not allowed",
        "a `: ` where no key can be",
        "put a value that has `: ` in it in quotes; else look at the indentation of this line and the one before",
    ),
    _Known(
        "could not find expected ':'",
        "a line without a colon",
        "write KEY: VALUE, or KEY: with more indented lines below it",
        from_start=True,
    ),
    _Known(
        "found unexpected end of stream", "a quote that begins here never ends", "close it with the same quote", True
    ),
    _Known(
        "expected ',' or",
        "a list or mapping in brackets that begins here goes wrong",
        "look for a missing comma or closing bracket",
        from_start=True,
    ),
    _Known(
        "expected <block end>",
        "the indentation does not fit the lines before",
        "let all keys of one section begin in the same column",
    ),
    _Known(
        "found undefined alias",
        "an alias (`*`) whose anchor (`&`) is nowhere above",
        "name an anchor that is there; put a text that begins with `*` in quotes",
    ),
    _Known(
        "could not determine a constructor",
        "a tag (`!`) that is not known here",
        "delete it; put a text that begins with `!` in quotes",
    ),
    _Known(
        "unhashable key",
        "a `{` or `[` in the place of a key",
        "put a text that begins with `{` in quotes; a template must be rendered first",
    ),
    _Known("expected a single document", "a second document begins here, with ---", "a config file has only one"),
    _Known("expected the node content", "a value is missing, or begins with a character of YAML", _IN_QUOTES),
    _Known("for merging", "`<<` takes in what is no mapping", "give it the alias of a mapping, as in <<: *defaults"),
    _Known("special characters are not allowed", "a control character or another that YAML forbids", "delete it"),
    _Known("an alias contains itself", "an alias inside its own anchor", "write the values out"),
    _Known("inside each other", "", "write less"),
)


def explained(error: yaml.YAMLError | ValueError, text: str) -> YamlMistake:
    """The mistake in ``text`` that PyYAML has found."""
    if (conflict := _CONFLICT.search(text)) is not None:
        at = text.count("\n", 0, conflict.start()) + 1
        return YamlMistake("a merge conflict begins here", "keep one of its sides, and delete the markers", at)
    said, stopped, began = _parts(error, text)
    if (space := _no_break_space(text, stopped)) is not None:
        return YamlMistake("not valid YAML: a no-break space, which is no space for YAML", "write a space", space)
    known = next((one for one in _KNOWN if one.part in said), None)
    if known is None:
        # Also a value such as 2024-13-01, which looks like a date and is none: then there is no line.
        hint = _IN_QUOTES if isinstance(error, ValueError) else ""
        return YamlMistake(f"not valid YAML: {_QUOTED.sub('...', said)}", hint, stopped)
    line = began if known.from_start and began is not None else stopped
    return YamlMistake(f"not valid YAML: {known.message or said}", known.hint, line)


def _no_break_space(text: str, line: int | None) -> int | None:
    """The line with a no-break space, which looks like a space: the line of an error, or the one before."""
    around = list(enumerate(text.split("\n"), start=1))[max(0, (line or 0) - 2) : line or 0]
    return next((number for number, one in around if "\u00a0" in one), None)


def _parts(error: yaml.YAMLError | ValueError, text: str) -> tuple[str, int | None, int | None]:
    """What PyYAML says; the line where it gave up; the line where it began to read what is wrong."""
    if isinstance(error, yaml.reader.ReaderError):
        return str(error.reason), text.count("\n", 0, error.position) + 1, None
    if not isinstance(error, yaml.MarkedYAMLError):
        return str(error), None, None
    said = " ".join(part for part in (error.context, error.problem) if part)
    problem, context = (None if mark is None else mark.line + 1 for mark in (error.problem_mark, error.context_mark))
    return said, context if problem is None else problem, context
