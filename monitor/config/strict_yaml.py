"""Strict YAML: one mapping with the line of each key, or a sentence about a fault.

Scalars follow the core schema of YAML 1.2: `1e-3` is a number, `no` is a word and `010`
is ten.  Duplicate keys, aliases, tags and a second document are errors.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from monitor.errors import ConfigError

KeyPath = tuple[str | int, ...]

MOST_CHARACTERS = 2**18
MOST_BYTES = 4 * MOST_CHARACTERS
"""Sixteen times the length of the commented default configuration."""

_MOST_VALUES = 10_000
_LONGEST_KEY = 200
_DEEPEST = 20

_NULL, _BOOL, _INT, _FLOAT, _STR, _MAP, _SEQ = (
    f"tag:yaml.org,2002:{kind}"
    for kind in ("null", "bool", "int", "float", "str", "map", "seq")
)

_SCALARS: dict[str, Callable[[str], str | int | float | bool | None]] = {
    _STR: str,
    _INT: int,
    _FLOAT: float,
    _BOOL: lambda word: word.lower() == "true",
    _NULL: lambda _: None,
}

_NO_COLON = "has no ': ' after its key, a colon and a space"

# Messages of PyYAML, and what a person can act on.
_PLAINER = (
    ("cannot start any token", "a value with a special character; put it in quotes"),
    ("could not find expected ':'", f"this line {_NO_COLON}"),
    (
        "but found '<block ",
        "the indentation of this line fits no line above it; begin it where the keys "
        "or entries beside it begin",
    ),
    ("but found '-'", "a list item where a key was expected"),
    (
        "but found '<scalar>'",
        "this does not continue what is before it; inside '...', write '' for a quote",
    ),
    ("but found ','", "a comma behind a value; only brackets have commas"),
    ("unexpected end of stream", "the quotes that begin here are not closed"),
    ("found another document", "a second document begins; only one is allowed"),
    ("second occurrence", "a duplicate anchor (&); anchors are not supported"),
    ("special characters are not allowed", "a control character"),
)


_UNQUOTED = "an unexpected ':'; put a value with a ':' in quotes, as in input: 'demo:'"

_NOTICED_LATE = ("unexpected end of stream", "could not find expected ':'")
"""Faults that PyYAML finds lines after the one that has them."""


@dataclass(frozen=True)
class YamlDocument:
    """The data of a text, and the line (from 1) of each key path."""

    data: dict[str, Any]
    lines: dict[KeyPath, int]

    def line(self, path: KeyPath) -> int | None:
        """Line of the key at `path`, or of the nearest section around it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None

    def line_of(self, sentence: str) -> int | None:
        """Line of the key that a sentence begins with, as in `a.b: 1 is too high`.

        For `a: 'b' is unknown` it is the line of the key `b` in `a`, if there is one.
        """
        best = 0
        line = None
        for path, number in self.lines.items():
            beginnings = (key_text(path), f"{key_text(path[:-1])}: {path[-1]!r}")
            for text in beginnings:
                if len(text) > best and re.match(rf"{re.escape(text)}(?!\w)", sentence):
                    best, line = len(text), number
        return line


class _Loader(yaml.SafeLoader):
    """Composes nodes; rejects texts that would expand into large structures."""

    depth = 0
    values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise self._error("aliases (*) are not supported; write the value out")
        self.depth += 1
        self.values += 1
        if self.depth > _DEEPEST:
            raise self._error(f"more than {_DEEPEST} levels of sections and lists")
        if self.values > _MOST_VALUES:
            raise self._error(f"more than {_MOST_VALUES} keys and values")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _error(self, problem: str) -> yaml.MarkedYAMLError:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # its stub
        return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


# In YAML 1.1, PyYAML's default, `no` is false.
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    (_NULL, r"(?:null|Null|NULL|~|)", ["n", "N", "~", ""]),
    (_BOOL, r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    (_INT, r"[-+]?[0-9]+", list("-+0123456789")),
    (
        _FLOAT,
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(_tag, re.compile(f"^{_pattern}$"), _first)


def read_yaml(text: str, origin: str) -> YamlDocument:
    """Read one mapping; an empty text is an empty mapping.

    Args:
        text: The document.
        origin: Name of the file, for messages.

    Raises:
        ConfigError: One sentence with origin and line.
    """
    if len(text) > MOST_CHARACTERS:
        raise ConfigError(f"{origin}: is longer than {MOST_CHARACTERS} characters")
    try:
        root = _Loader(text).get_single_node()
        lines: dict[KeyPath, int] = {}
        data = {} if root is None else _value(root, (), lines)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{_place(error, origin)}: {_sentence(error)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{origin}:{line}: {_plainer(error.reason)}") from None
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise ConfigError(f"{origin}:1: must be keys and values, such as 'model: {{}}'")
    return YamlDocument(data, lines)


def _value(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int]) -> Any:
    if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
        return _mapping(node, path, lines)
    if isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
        for index, item in enumerate(node.value):
            lines[*path, index] = item.start_mark.line + 1
        return [
            _value(item, (*path, index), lines) for index, item in enumerate(node.value)
        ]
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    raise _fault(node, f"the tag {_shown(node.tag)} is not supported")


def _mapping(
    node: yaml.MappingNode, path: KeyPath, lines: dict[KeyPath, int]
) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = _scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
        if not isinstance(key, str):
            raise _fault(key_node, "a key must be a word; put it in quotes")
        if len(key) > _LONGEST_KEY or not key.isprintable():
            raise _fault(
                key_node,
                f"the key {key[:40]!a} must be printable, and at most {_LONGEST_KEY} "
                "characters long",
            )
        if key in mapping:
            first = lines[*path, key]
            raise _fault(
                key_node,
                f"{key_text((*path, key))}: duplicate key; first used in line {first}",
            )
        lines[*path, key] = key_node.start_mark.line + 1
        mapping[key] = _value(value_node, (*path, key), lines)
    return mapping


def _scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    if node.tag not in _SCALARS:
        raise _fault(node, f"the tag {_shown(node.tag)} is not supported")
    try:
        return _SCALARS[node.tag](str(node.value))
    except ValueError:
        # Python converts at most 4300 digits.
        is_long = re.fullmatch(r"[-+]?[0-9]+", node.value)
        fault = "has too many digits" if is_long else "is not a number"
        raise _fault(node, f"{node.value[:40]!a} {fault}") from None


def _shown(text: str) -> str:
    """The beginning of a text, escaped for a terminal."""
    return ascii(text[:80])[1:-1]


def key_text(path: KeyPath) -> str:
    """A key path as people write it: `sources[0].name`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _fault(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _place(error: yaml.MarkedYAMLError, origin: str) -> str:
    mark = error.problem_mark or error.context_mark
    if any(text in (error.problem or "") for text in _NOTICED_LATE):
        mark = error.context_mark
    return origin if mark is None else f"{origin}:{mark.line + 1}"


def _sentence(error: yaml.MarkedYAMLError) -> str:
    problem, context = error.problem or "", error.context or ""
    before = _start_of_line(error.problem_mark)
    is_first_key = re.fullmatch(r" *(- +)*[\w.-]+", before) is not None
    began = error.context_mark.line + 1 if error.context_mark else 0
    if "'\\t'" in problem:
        if before.strip(" "):
            return "a tab inside this line; use a space"
        return "a tab indents this line; use spaces"
    if "mapping values are not allowed" in problem:
        if is_first_key:
            if not re.search(r":( |$)", _previous_line(error.problem_mark)):
                return f"the line before this one {_NO_COLON}"
            return (
                "this line is indented further than the line before, which has a value "
                "already; begin both at the same column"
            )
        return _UNQUOTED
    if "expected ',' or" in problem:
        if "got ':'" in problem and not is_first_key:
            has_two_words = " " in re.split(r"[{\[,]|: ", before)[-1].strip()
            return _UNQUOTED + ("; or a comma is missing" if has_two_words else "")
        return (
            f"the bracket that opens in line {began} is not closed, or a comma is "
            "missing"
        )
    if "but found '?'" in problem and "block collection" in context:
        return (
            f"this key belongs to no entry of the list that begins in line {began}; "
            "indent it as far as the first key of its entry, after the '- '"
        )
    return _plainer(problem or context or "is not YAML")


def _previous_line(mark: yaml.Mark | None) -> str:
    """The last line before the one of a mark that is not empty."""
    if mark is None or mark.buffer is None:
        return ""
    lines = mark.buffer[: mark.pointer - mark.column].splitlines()
    return next((line.rstrip() for line in reversed(lines) if line.strip()), "")


def _start_of_line(mark: yaml.Mark | None) -> str:
    """The beginning of a line, up to a mark."""
    if mark is None or mark.buffer is None:
        return ""
    return mark.buffer[mark.pointer - mark.column : mark.pointer]


def _plainer(problem: str) -> str:
    for said, plain in _PLAINER:
        if said in problem:
            return plain
    return problem[:200]
