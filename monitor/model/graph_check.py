"""The operators of an ONNX graph, read from its bytes before anything runs it.

A model file may come from anybody.  A graph could loop without an end or hold others,
so only the operators of this program's own networks are accepted.  The form is that of
https://protobuf.dev/programming-guides/encoding and onnx.proto.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

OPERATORS = frozenset(
    (
        *("Add", "AveragePool", "Cast", "Clip", "Concat", "Constant", "Conv", "Div"),
        *("Exp", "Gemm", "HardSwish", "Log", "MatMul", "Mul", "ReduceMax"),
        *(
            "ReduceMean",
            "Relu",
            "Sigmoid",
            "Squeeze",
            "Sub",
            "Transpose",
            "Unsqueeze",
            "Where",
        ),
    )
)
"""Those that the exporter writes for the networks of `monitor.model.networks`."""

_GRAPH, _FUNCTIONS = 7, 25  # of a model
_NODE, _INITIALIZER = 1, 5  # of a graph
_INPUT, _OUTPUT, _OPERATOR, _ATTRIBUTE, _DOMAIN = 1, 2, 4, 5, 7  # of a node
_NAME, _NUMBER, _TEXT, _TENSOR, _NUMBERS = 1, 3, 4, 5, 8  # of an attribute
_INNER_GRAPHS = (6, 11)
_DIMS, _TYPE, _INT64S, _TENSOR_NAME, _RAW = 1, 2, 7, 8, 9  # of a tensor
_INT64 = 7
_CUT = "cannot be read (it is cut short)"
_MOST_VALUES = 8
"""Of a constant whose values matter: axes."""


@dataclass(slots=True)
class Node:
    """One operator of a graph."""

    operator: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    numbers: dict[str, list[int]] = field(default_factory=dict)
    """Its attributes of whole numbers; those of text are empty."""

    shape: tuple[int, ...] = ()
    values: Sequence[int] = ()
    """Those of a Constant; values are those of whole numbers, if they are few."""


def nodes(model: bytes) -> Iterator[Node]:
    """Read the operators of a graph in their order.

    Raises:
        ValueError: It says what the graph has that none of this program's has.
    """
    for content in _of_graph(model, _NODE):
        node = Node()
        for number, _, value in _fields(content):
            if number == _INPUT:
                node.inputs.append(_text(value))
            elif number == _OUTPUT:
                node.outputs.append(_text(value))
            elif number == _OPERATOR:
                node.operator = _text(value)
                if node.operator not in OPERATORS:
                    raise ValueError(
                        f"has the operator {node.operator!a:.40}, which no network "
                        "needs"
                    )
            elif number == _DOMAIN and len(value):
                raise ValueError(f"has an operator of the domain {_text(value)!a:.40}")
            elif number == _ATTRIBUTE:
                _read_attribute(node, value)
        yield node


def _read_attribute(node: Node, content: memoryview) -> None:
    name, numbers = "", list[int]()
    for number, whole, value in _fields(content):
        if number == _NAME:
            name = _text(value)
        elif number in (_NUMBER, _NUMBERS):
            numbers += _integers(whole, value)
        elif number == _TENSOR:
            _, node.shape, node.values = _tensor(value)
        elif number in _INNER_GRAPHS:
            raise ValueError("holds another graph")
    if name in node.numbers:
        raise ValueError("has an attribute twice")
    node.numbers[name] = numbers


def weights(model: bytes) -> Iterator[tuple[str, tuple[int, ...], Sequence[int]]]:
    """Read name, shape and few whole numbers of each weight of a graph."""
    yield from map(_tensor, _of_graph(model, _INITIALIZER))


def _tensor(content: memoryview) -> tuple[str, tuple[int, ...], Sequence[int]]:
    name, kind = "", 0
    dims, values = list[int](), list[int]()
    for number, whole, value in _fields(content):
        if number == _DIMS:
            dims += _integers(whole, value)
        elif number == _TYPE:
            kind = whole
        elif number == _TENSOR_NAME:
            name = _text(value)
        elif number == _INT64S:
            values += _integers(whole, value)
        elif number == _RAW and len(value) <= 8 * _MOST_VALUES:
            values += memoryview(bytes(value[: len(value) // 8 * 8])).cast("q").tolist()
    if min(dims, default=0) < 0:
        raise ValueError("has a weight of negative size")
    return name, tuple(dims), values if kind == _INT64 else ()


def _of_graph(model: bytes, wanted: int) -> Iterator[memoryview]:
    for part, _, graph in _fields(memoryview(model)):
        if part == _FUNCTIONS:
            raise ValueError("has functions of its own")
        if part == _GRAPH:
            yield from (
                value for number, _, value in _fields(graph) if number == wanted
            )


def _text(value: memoryview) -> str:
    return bytes(value).decode("utf-8", "replace")


def _integers(whole: int, packed: memoryview) -> list[int]:
    """One whole number, or those that are packed."""
    if not len(packed):
        return [_signed(whole)]
    found, at = [], 0
    while at < len(packed):
        value, at = _varint(packed, at)
        found.append(_signed(value))
    return found


def _signed(value: int) -> int:
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def _fields(data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield number, whole number and content of each field; one of them is empty."""
    at = 0
    while at < len(data):
        tag, at = (data[at], at + 1) if data[at] < 0x80 else _varint(data, at)
        kind, size, whole = tag & 7, 0, 0
        if kind == 0:
            whole, at = _varint(data, at)
        elif kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"cannot be read (a field of kind {kind})")
        if at + size > len(data):
            raise ValueError(_CUT)
        yield tag >> 3, whole, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError(_CUT)
        byte = data[at]
        at += 1
        if byte < 0x80:  # most numbers are short
            return value | byte << shift, at
        value |= (byte & 0x7F) << shift
    raise ValueError("cannot be read (a number is too long)")
