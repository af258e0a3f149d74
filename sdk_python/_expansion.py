"""How values in a config file are read: `${VAR}` is expanded, and fields that must be texts stay texts.

The sidecar and the processes of its lambdas read the same file. By these rules both read the same values in it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

# `$${` is an escaped `${`. A variable ends at the first `}`, so a default cannot contain one.
_VARIABLE: Final = re.compile(r"\$\$\{|\$\{(?P<inner>[^}]*)(?P<end>\}?)")
_INNER: Final = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.ASCII | re.DOTALL)

_TAG: Final = "tag:yaml.org,2002:"
_STR: Final = f"{_TAG}str"
_TOKENS: Final = frozenset({("server", "token"), ("server", "admin_token")})
_NUMBERS: Final = frozenset({f"{_TAG}int", f"{_TAG}float", f"{_TAG}timestamp"})

Report = Callable[[str, str, str], None]
"""Takes a mistake: the variable's name, which may be empty; what is wrong; what to do."""


def read_scalar(node: Any, loc: Sequence[object], environ: Mapping[str, str], report: Report) -> list[str]:
    """Prepare a node of YAML that holds a single value: expand variables and keep texts, in place.

    Call it once for each node: a variable's own value must not be expanded again.

    Args:
        node: a ``yaml.ScalarNode``.
        loc: its path in the file, from the top.
        environ: the environment variables.
        report: called with each mistake.

    Returns:
        The variables that the value names.
    """
    keep_text(node, loc)
    names: list[str] = []
    if node.tag == _STR and "${" in node.value:
        node.value = expand(str(node.value), environ, report, names)
    return names


def keep_text(node: Any, loc: Sequence[object]) -> None:
    """Keep Kafka properties and tokens as texts: a password of 0123 must not become the number 83."""
    if node.tag in _NUMBERS and (tuple(loc[:1]) == ("kafka",) or tuple(loc) in _TOKENS):
        node.tag = _STR


def expand(text: str, environ: Mapping[str, str], report: Report, names: list[str]) -> str:
    """Expand ``${VAR}`` and ``${VAR:-default}``; the default is used if the variable is absent or empty.

    Each variable that the text names is appended to ``names``.
    """

    def one(match: re.Match[str]) -> str:
        if match["inner"] is None:
            return "${"
        inner = _INNER.fullmatch(match["inner"])
        if not match["end"] or inner is None:
            report("", f"{match[0]!r} is no variable", "${NAME} or ${NAME:-default}; $${ means ${")
            return match[0]
        name, default = inner["name"], inner["default"]
        names.append(name)
        value = environ.get(name)
        if default is not None:
            return value or default  # as in a shell: `:-` covers an empty variable too
        if value is None:
            hint = f"set it, or give a default: ${{{name}:-...}}"
            report(name, f"the environment variable {name} is not set", hint)
            return match[0]
        return value

    return _VARIABLE.sub(one, text)
