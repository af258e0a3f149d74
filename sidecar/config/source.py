"""The config file as text: YAML with line numbers, `${VAR}` expansion, and the mistakes YAML itself forgives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import yaml

from sdk_python._expansion import read_scalar
from sidecar.config.base import Loc, did_you_mean

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong in a config file."""

    path: str
    """Where, with dots: `lambdas.deli.window.messages`. Empty: the file as a whole."""
    message: str
    """What is wrong and what was expected."""
    hint: str = ""
    """What to do about it; may be empty."""
    line: int | None = None
    """In the file, from 1; of a missing key: where its section begins. None: unknown."""

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        return f"{text}; {self.hint}" if self.hint else text


def dotted(loc: Loc) -> str:
    """`("lambdas", "deli", "topics", 1)` as `lambdas.deli.topics[1]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


@dataclass
class Source:
    """A config file that was read: its data, and where in the text each piece is."""

    data: Any = None
    """As YAML gives it, variables expanded. None when the text is no YAML."""
    mistakes: list[Mistake] = field(default_factory=list)
    """Found while reading; the data is usable all the same where YAML could be parsed."""
    root: yaml.Node | None = None

    def line(self, loc: Loc) -> int | None:
        """The line of a key or an element, from 1; of the closest one around it when it is not there."""
        node, line = self.root, None
        for part in loc:
            step = _child(node, part)
            if step is None:
                break
            line, node = step
        return line


def read(text: str, environ: Mapping[str, str]) -> Source:
    """Parse a config file. Mistakes are collected, not raised."""
    source = Source()
    try:
        loader = yaml.SafeLoader(text)
        try:
            source.root = loader.get_single_node()
            if source.root is None:
                source.mistakes.append(Mistake("", "the file is empty", "it needs at least kafka: and lambdas:"))
                return source
            _Walk(environ, source.mistakes).visit(source.root, (), ())
            source.data = loader.construct_document(source.root)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        source.mistakes.append(Mistake("", f"not valid YAML: {what}", line=mark.line + 1 if mark else None))
    except yaml.YAMLError as error:
        source.mistakes.append(Mistake("", f"not valid YAML: {error}"))
    except ValueError as error:  # a value that looks like a date and is none, such as 2024-13-01
        source.mistakes.append(Mistake("", f"not valid YAML: {error}", "put the value in quotes"))
    return source


class _Walk:
    """One pass over the parsed nodes, before YAML makes values of them."""

    def __init__(self, environ: Mapping[str, str], mistakes: list[Mistake]) -> None:
        self._environ = environ
        self._mistakes = mistakes
        self._seen: set[int] = set()

    def visit(self, node: yaml.Node, loc: Loc, around: tuple[int, ...]) -> None:
        if id(node) in around:
            raise yaml.MarkedYAMLError(problem="an alias contains itself", problem_mark=node.start_mark)
        if id(node) in self._seen:
            return  # an alias: visited where its anchor is
        self._seen.add(id(node))
        around = (*around, id(node))
        if isinstance(node, yaml.MappingNode):
            self._duplicates(node, loc)
            for key, value in node.value:
                inner = loc if key.tag == _MERGE else (*loc, str(key.value))
                self.visit(value, inner, around)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self.visit(value, (*loc, index), around)
        elif isinstance(node, yaml.ScalarNode):
            read_scalar(node, loc, self._environ, partial(self._variable, node, loc))

    def _duplicates(self, node: yaml.MappingNode, loc: Loc) -> None:
        first: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            line = key.start_mark.line + 1
            name = (key.tag, key.value)
            if name in first:
                message = f"this key is here twice, the first time in line {first[name]}"
                self._report(Mistake(dotted((*loc, key.value)), message, "delete one of them", line))
            first.setdefault(name, line)

    def _variable(self, node: yaml.Node, loc: Loc, name: str, message: str, hint: str) -> None:
        hint = (did_you_mean(name, self._environ) if name else "") or hint
        self._report(Mistake(dotted(loc), message, hint, node.start_mark.line + 1))

    def _report(self, mistake: Mistake) -> None:
        self._mistakes.append(mistake)


def _child(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node] | None:
    """The line and the node of one step down, through `<<` merges too."""
    if isinstance(node, yaml.SequenceNode):
        if isinstance(part, int) and part < len(node.value):
            element = node.value[part]
            return element.start_mark.line + 1, element
        return None
    if not isinstance(node, yaml.MappingNode):
        return None
    for key, value in reversed(node.value):  # YAML takes the last of two equal keys
        if isinstance(key, yaml.ScalarNode) and key.value == str(part):
            return key.start_mark.line + 1, value
    for key, value in node.value:
        if key.tag == _MERGE:
            for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                found = _child(merged, part)
                if found:
                    return found
    return None
