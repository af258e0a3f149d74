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
from sidecar.config.mistakes import Mistake, dotted, is_private
from sidecar.config.yaml_errors import explained
from sidecar.redact import is_secret

MAX_LEVELS = 50
"""The depth of nested mappings and lists."""

MAX_VALUES = 20_000
"""In a file; a value counts once for each alias that repeats it."""

MAX_TEXT_CHARACTERS = 4 * 1024 * 1024
"""The length of all values together, counted likewise: a Welcome could not carry more to a lambda."""

MIN_SECRET_CHARACTERS = 6
"""Shorter ones are not looked for in messages: their letters are in ordinary words too."""

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_STR = f"{_TAG}str"
_KINDS = {f"{_TAG}{tag}": kind for tag, kind in (("bool", "true or false"), ("null", "nothing"))} | {
    f"{_TAG}{tag}": kind for tag, kind in (("int", "a number"), ("float", "a number"), ("timestamp", "a date"))
}
_MISLEADING = re.compile(r"[-+]?(0[0-9_]+|[0-9_]+(:[0-5]?[0-9])+)", re.ASCII)
_SHELL = re.compile(r"\$[A-Z_][A-Z0-9_]*", re.ASCII)


@dataclass
class Source:
    """A config file that was read: its data, and the line of each part."""

    data: Any = None
    """The data of the YAML, with variables expanded. None when the text is no YAML."""
    mistakes: list[Mistake] = field(default_factory=list)
    """Mistakes found while reading; the data is still usable if the YAML could be parsed."""
    root: yaml.Node | None = None
    private: set[str] = field(default_factory=set)
    """The texts below keys whose names say that they are secrets."""
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

    def is_list(self, loc: Loc) -> bool:
        """Whether the value at this path is a list."""
        node = self.root
        for part in loc:
            step = _child(node, part)
            if step is None:
                return False
            _, node = step
        return isinstance(node, yaml.SequenceNode)

    def used(self, loc: Loc) -> list[str]:
        """The environment variables in the value at this path."""
        return sorted(name for name, paths in self.variables.items() if loc in paths)

    def secrets(self, environ: Mapping[str, str]) -> list[str]:
        """The secrets that this file holds or refers to, by their names; the longest first.

        Messages do not quote them. This is for those that do so by mistake, or because the text stands in the wrong
        place: `group: ${SASL_PASSWORD}`.
        """
        found = {environ.get(name, "") for name in self.variables if is_secret(name)} | self.private
        return sorted((one for one in found if len(one) >= MIN_SECRET_CHARACTERS), key=len, reverse=True)


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
    except _TooMuch as error:
        source.mistakes.append(Mistake("", str(error), "write less, or without aliases", error.line))
    except (yaml.YAMLError, ValueError) as error:
        source.mistakes.append(Mistake("", *explained(error, text)))
    return source


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
                if is_new:
                    self._text_key(key, loc)
                inner = loc if key.tag == _MERGE else (*loc, str(key.value))
                self.visit(value, inner, around)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self.visit(value, (*loc, index), around)
        elif isinstance(node, yaml.ScalarNode):
            keep_text(node, loc)
            if is_new:
                self._misleading(node, loc)
                names += read_scalar(node, loc, self._environ, partial(self._variable, node, loc))
                if node.tag == _STR and "${" not in node.value and any(is_secret(str(part)) for part in loc):
                    self._source.private.add(node.value)
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

    def _text_key(self, key: yaml.Node, loc: Loc) -> None:
        """Report a key that YAML reads as another type, and go on as if it were in quotes."""
        if isinstance(key, yaml.ScalarNode) and key.tag not in {_STR, _MERGE}:
            message = f"a key must be a text, and YAML reads this one as {_KINDS.get(key.tag, 'something else')}"
            where = dotted((*loc, str(key.value)))
            self._report(Mistake(where, message, "put it in quotes", key.start_mark.line + 1))
            key.tag = _STR

    def _misleading(self, node: yaml.ScalarNode, loc: Loc) -> None:
        """Report a value that means another one than people think: 010 is 8 in YAML, and 1:30 is 90."""
        if len(loc) > 2 and loc[0] == "lambdas" and loc[2] == "settings":
            return  # the plugin's own business
        line = node.start_mark.line + 1
        if node.tag == f"{_TAG}int" and loc != ("server", "socket_mode") and _MISLEADING.fullmatch(node.value):
            private = is_private(loc)
            why = "a colon means base 60" if ":" in node.value else "a leading 0 means octal"
            read_as = "this as another number" if private else f"{node.value} as {yaml.safe_load(node.value)}"
            hint = "write the number that is meant; a text needs quotes"
            self._report(Mistake(dotted(loc), f"YAML reads {read_as}: {why}", hint, line))
        elif node.tag == _STR and _SHELL.fullmatch(node.value) and node.value[1:] in self._environ:
            message = f"{node.value} is no variable here, but there is an environment variable of this name"
            self._report(Mistake(dotted(loc), message, f"write ${{{node.value[1:]}}}", line))

    def _variable(self, node: yaml.Node, loc: Loc, name: str, message: str, hint: str) -> None:
        """Report a mistake in a variable. ``name`` is empty when the text names no variable: it may be a secret."""
        if not name and (is_private(loc) or loc[:1] == ("server",)):  # a misspelt `token` too
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
