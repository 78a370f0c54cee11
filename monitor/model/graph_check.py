"""The operators of an ONNX graph, read from its bytes before anything runs it.

A model file may come from anybody.  A graph could loop without an end or hold others,
so only the operators of this program's own networks are accepted.  The form is that of
https://protobuf.dev/programming-guides/encoding and onnx.proto.
"""

from collections.abc import Iterator

OPERATORS = frozenset(
    (
        *("Add", "AveragePool", "Cast", "Clip", "Constant", "Conv", "Div", "Exp"),
        *("Gemm", "HardSwish", "Log", "MatMul", "Mul", "ReduceMax", "ReduceMean"),
        *("Relu", "Sigmoid", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where"),
    )
)
"""Those that the exporter writes for the networks of `monitor.model.networks`."""

_GRAPH, _FUNCTIONS = 7, 25  # of a model
_NODE = 1  # of a graph
_OPERATOR, _ATTRIBUTE, _DOMAIN = 4, 5, 7  # of a node
_INNER_GRAPHS = (6, 11)  # of an attribute


def graph_fault(model: bytes) -> str | None:
    """Say what a graph has that none of this program's has; None: nothing."""
    try:
        for number, value in _fields(memoryview(model)):
            if number == _FUNCTIONS:
                return "has functions of its own"
            if number == _GRAPH:
                fault = _fault_of_nodes(value)
                if fault is not None:
                    return fault
    except ValueError as error:
        return f"cannot be read ({error})"
    return None


def _fault_of_nodes(graph: memoryview) -> str | None:
    for number, node in _fields(graph):
        if number != _NODE:
            continue
        for field, value in _fields(node):
            if field == _OPERATOR and _text(value) not in OPERATORS:
                return f"has the operator {_text(value)!a:.40}, which no network needs"
            if field == _DOMAIN and len(value):
                return f"has an operator of the domain {_text(value)!a:.40}"
            if field == _ATTRIBUTE and any(
                inner in _INNER_GRAPHS for inner, _ in _fields(value)
            ):
                return "holds another graph"
    return None


def _text(value: memoryview) -> str:
    return bytes(value).decode("utf-8", "replace")


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of each field; numbers have an empty content."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind, size = tag & 7, 0
        if kind == 0:
            _, at = _varint(data, at)
        elif kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        if at + size > len(data):
            raise ValueError("it is cut short")
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is too long")
