"""The config file as text: YAML with line numbers, `${VAR}` expansion, and checks that YAML itself does not make."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import yaml

from sdk_python._expansion import keep_text, read_scalar
from sidecar.config.base import Loc, did_you_mean
from sidecar.redact import is_secret

MAX_LEVELS = 50
"""The depth of nested mappings and lists."""

MAX_VALUES = 20_000
"""In a file; a value counts once for each alias that repeats it."""

MAX_TEXT_CHARACTERS = 4 * 1024 * 1024
"""The length of all values together, counted likewise: a Welcome could not carry more to a lambda."""

_QUOTED = re.compile(r"""(['"]).*\1""", re.DOTALL)

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_PRIVATE = frozenset({"settings", "env", "command"})
_TOKENS = frozenset({("server", "token"), ("server", "admin_token")})


@dataclass(frozen=True)
class Mistake:
    """One mistake in a config file."""

    path: str
    """The path with dots: `lambdas.deli.window.messages`. Empty: the file as a whole."""
    message: str
    """The problem and what was expected."""
    hint: str = ""
    """The remedy; may be empty."""
    line: int | None = None
    """The line in the file, from 1; for a missing key the line where its section begins. None: unknown."""

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        return f"{text}; {self.hint}" if self.hint else text


def dotted(loc: Loc) -> str:
    """The path as a text: `("lambdas", "deli", "topics", 1)` is `lambdas.deli.topics[1]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{key_shown(part)}" for part in loc).removeprefix(".")


def is_private(loc: Loc) -> bool:
    """Whether the value at this path is never shown: its name says "secret", or its section may hold secrets."""
    if loc[:1] == ("lambdas",) and len(loc) > 2 and loc[2] in _PRIVATE:
        return True
    return loc in _TOKENS or any(is_secret(str(part)) for part in loc)


def key_shown(key: str) -> str:
    """A key without the text after a `=`: the user probably meant that as the value, and it may be a secret."""
    name, equals, _ = key.partition("=")
    return f"{name}=****" if equals else key


@dataclass
class Source:
    """A config file that was read: its data, and the line of each part."""

    data: Any = None
    """The data of the YAML, with variables expanded. None when the text is no YAML."""
    mistakes: list[Mistake] = field(default_factory=list)
    """Mistakes found while reading; the data is still usable if the YAML could be parsed."""
    root: yaml.Node | None = None
    variables: dict[str, set[Loc]] = field(default_factory=dict)
    """The environment variables that the file names, with the paths of the values that use them."""

    def line(self, loc: Loc) -> int | None:
        """The line of a key or element, from 1; when it is missing, the line of the closest section around it."""
        node, line = self.root, None
        for part in loc:
            step = _child(node, part)
            if step is None:
                break
            line, node = step
        return line


def read(text: str, environ: Mapping[str, str]) -> Source:
    """Parse a config file. Mistakes are collected in the result, not raised."""
    source = Source()
    try:
        loader = _Loader(text)
        try:
            source.root = loader.get_single_node()
            if source.root is None:
                source.mistakes.append(Mistake("", "the file is empty", "it needs at least kafka: and lambdas:"))
                return source
            _Walk(environ, source).visit(source.root, (), ())
            source.data = loader.construct_document(source.root)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(_without_quotes(part) for part in (error.context, error.problem) if part)
        source.mistakes.append(Mistake("", f"not valid YAML: {what}", line=mark.line + 1 if mark else None))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        source.mistakes.append(Mistake("", f"not valid YAML: {error.reason}", line=line))
    except yaml.YAMLError as error:
        source.mistakes.append(Mistake("", f"not valid YAML: {_without_quotes(str(error))}"))
    except _TooMuch as error:
        source.mistakes.append(Mistake("", str(error), "write less, or without aliases", error.line))
    except ValueError as error:  # a value such as 2024-13-01, which looks like a date but is none
        source.mistakes.append(
            Mistake("", f"not valid YAML: {_without_quotes(str(error))}", "put the value in quotes")
        )
    return source


def _without_quotes(text: str) -> str:
    """A parser's message without its quotations: they may be a password that begins with `!`, `*` or `&`."""
    return _QUOTED.sub("...", text)


class _TooMuch(Exception):  # noqa: N818 - says what is the case
    """The file's data is larger than any config needs to be."""

    def __init__(self, text: str, node: yaml.Node) -> None:
        super().__init__(text)
        self.line = node.start_mark.line + 1


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, which recurses for each level, with a limit on the levels."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._levels = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._levels += 1
        if self._levels > MAX_LEVELS:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            problem = f"more than {MAX_LEVELS} mappings and lists inside each other"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        try:
            node: yaml.Node | None = super().compose_node(parent, index)
            return node
        finally:
            self._levels -= 1


class _Walk:
    """One pass over the parsed nodes, before YAML turns them into values."""

    def __init__(self, environ: Mapping[str, str], source: Source) -> None:
        self._environ = environ
        self._source = source
        self._seen: dict[int, list[str]] = {}
        self._values = 0
        self._text = 0

    def visit(self, node: yaml.Node, loc: Loc, around: tuple[int, ...]) -> None:
        """Visit a node as often as aliases repeat it: code that reads the values later sees every repetition."""
        if id(node) in around:
            raise yaml.MarkedYAMLError(problem="an alias contains itself", problem_mark=node.start_mark)
        is_new = id(node) not in self._seen
        names = self._seen.setdefault(id(node), [])
        around = (*around, id(node))
        if isinstance(node, yaml.MappingNode):
            if is_new:
                self._duplicates(node, loc)
            for key, value in node.value:
                inner = loc if key.tag == _MERGE else (*loc, str(key.value))
                self.visit(value, inner, around)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self.visit(value, (*loc, index), around)
        elif isinstance(node, yaml.ScalarNode):
            keep_text(node, loc)
            if is_new:
                names += read_scalar(node, loc, self._environ, partial(self._variable, node, loc))
        for name in names:
            self._source.variables.setdefault(name, set()).add(loc)
        self._count(node)

    def _count(self, node: yaml.Node) -> None:
        self._values += 1
        self._text += len(node.value) if isinstance(node, yaml.ScalarNode) else 0
        if self._values > MAX_VALUES:
            raise _TooMuch(
                f"the file has more than {MAX_VALUES} values, aliases counted as what they stand for", node
            )
        if self._text > MAX_TEXT_CHARACTERS:
            raise _TooMuch(f"the values of the file have more than {MAX_TEXT_CHARACTERS} characters", node)

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
        """Report a mistake in a variable. ``name`` is empty when the text names no variable: it may be a secret."""
        if not name and is_private(loc):
            message = "what begins with ${ here is no variable"
        hint = (did_you_mean(name, self._environ) if name else "") or hint
        self._report(Mistake(dotted(loc), message, hint, node.start_mark.line + 1))

    def _report(self, mistake: Mistake) -> None:
        self._source.mistakes.append(mistake)


def _child(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node] | None:
    """The line and the node of a key or element of ``node``, also in its `<<` merges."""
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
