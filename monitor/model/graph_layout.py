"""The sizes of all that an ONNX graph computes, before anything runs it.

A model file may come from anybody: a small graph could ask for more memory and time
than a device has, or state that its maps depend on fewer frames than they do.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from monitor.model.graph_check import Node, nodes, weights

Shape = tuple[int, ...]

MOST_ELEMENTS = 2**24
"""Of one tensor; the largest of the shipped model has 44,032."""

MOST_TOTAL = 2**26
"""Elements of all tensors: 256 MiB."""

MOST_WORK = 2**33
"""Multiplications of a window: some seconds; the shipped model needs 2**24."""

_SAME = frozenset(
    ("Cast", "Clip", "Exp", "HardSwish", "Log", "Relu", "Sigmoid")  # of input 0
)
_BROADCAST = frozenset(("Add", "Div", "Mul", "Sub", "Where"))
_SLIDING = frozenset(("AveragePool", "Conv"))
_FLOAT = 1


@dataclass(frozen=True, slots=True)
class Span:
    """Column `k` depends on frames from `k * stride - reach` to `k * stride + reach`.

    Columns are those of the last axis.
    """

    stride: int
    reach: float
    """Infinite: it depends on more, or otherwise."""


_EVERYTHING = Span(1, math.inf)


@dataclass(frozen=True, slots=True)
class Layout:
    """Size of a tensor, and what it depends on."""

    shape: Shape
    span: Span | None = None
    """None: it does not depend on the input."""

    values: Sequence[int] = ()
    """Of a small constant of whole numbers: axes."""


def layout_of(graph: bytes, given: Mapping[str, Shape], result: str) -> Layout:
    """Lay out `result` for inputs of these shapes, by name.

    Raises:
        ValueError: It says what the graph has that none of this program's has.
    """
    known = {name: Layout(dims, None, values) for name, dims, values in weights(graph)}
    known |= {name: Layout(shape, Span(1, 0)) for name, shape in given.items()}
    total = work = 0
    for node in nodes(graph):
        try:
            inputs = [known[name] for name in node.inputs if name]
            own, multiplications = _shape(node, inputs)
            layout = Layout(own, _span(node, inputs, own), node.values)
        except (LookupError, TypeError, ValueError):
            raise ValueError(
                f"has a {node.operator} that no network of its card has"
            ) from None
        elements = math.prod(own)
        total, work = total + elements, work + max(elements, multiplications)
        if elements > MOST_ELEMENTS or total > MOST_TOTAL or work > MOST_WORK:
            raise ValueError(f"computes too much, with a {node.operator} of {own}"[:99])
        known.update(dict.fromkeys(node.outputs, layout))
    if result not in known:
        raise ValueError(f"does not compute {result}")
    return known[result]


def _shape(node: Node, inputs: Sequence[Layout]) -> tuple[Shape, int]:
    """Shape of the result, and an upper limit of the multiplications."""
    operator, shapes = node.operator, [each.shape for each in inputs]
    if operator == "Constant" and list(node.numbers) == ["value"]:
        return node.shape, 0
    if operator in _SAME and node.numbers.get("to", [_FLOAT]) == [_FLOAT]:
        return shapes[0], 0
    if operator in _BROADCAST:
        return np.broadcast_shapes(*shapes), 0
    if operator in _SLIDING:
        return _slid(node, shapes)
    if operator in ("Gemm", "MatMul"):
        return _multiplied(node, shapes[0], shapes[1])
    return _arranged(node, inputs), math.prod(shapes[0])


def _multiplied(node: Node, left: Shape, right: Shape) -> tuple[Shape, int]:
    """Shape of a matrix product, and its multiplications."""
    if node.numbers.get("transA") == [1]:
        left = left[::-1]
    if node.numbers.get("transB") == [1]:
        right = right[::-1]
    *batch, rows, inner = left
    *others, _, columns = right
    shape = (*np.broadcast_shapes(tuple(batch), tuple(others)), rows, columns)
    return shape, math.prod(shape) * inner


def _arranged(node: Node, inputs: Sequence[Layout]) -> Shape:
    """Shape where axes are moved, added or taken away."""
    first, numbers = inputs[0].shape, node.numbers
    if node.operator == "Transpose":
        return tuple(first[axis] for axis in numbers["perm"])
    if node.operator == "Concat":
        return _joined([each.shape for each in inputs], *numbers["axis"])
    axes = _axes(node, inputs)
    if node.operator == "Unsqueeze":
        shape = list(first)
        for axis in sorted(axes):
            shape.insert(axis, 1)
        return tuple(shape)
    is_kept = node.operator != "Squeeze" and numbers.get("keepdims", [1]) == [1]
    sizes = [0 if axis in axes else size for axis, size in enumerate(first)]
    return tuple(size or 1 for size in sizes if size or is_kept)


def _joined(shapes: Sequence[Shape], axis: int) -> Shape:
    """Shape of tensors that follow each other along an axis."""
    first = shapes[0]
    if axis < 0 or len({(*each[:axis], *each[axis + 1 :]) for each in shapes}) > 1:
        raise ValueError
    joined = sum(each[axis] for each in shapes)
    return (*first[:axis], joined, *first[axis + 1 :])


def _axes(node: Node, inputs: Sequence[Layout]) -> set[int]:
    """Axes over which an operator works: those of this program count from 0."""
    axes = node.numbers["axes"] if len(inputs) == 1 else inputs[1].values
    if min(axes) < 0 or "noop_with_empty_axes" in node.numbers:
        raise ValueError
    return set(axes)


def _kernel(node: Node, shapes: Sequence[Shape]) -> list[tuple[int, int, int, int]]:
    """Extent, stride and both paddings of each axis over which a kernel slides."""
    is_conv, numbers = node.operator == "Conv", node.numbers
    sizes = shapes[1][2:] if is_conv else numbers["kernel_shape"]
    rank = len(sizes)
    pads = numbers.get("pads", [0] * 2 * rank)
    strides = numbers.get("strides", [1] * rank)
    dilations = numbers.get("dilations", [1] * rank)
    if "auto_pad" in numbers or numbers.get("ceil_mode", [0]) != [0]:
        raise ValueError
    if min(*pads, *(each - 1 for each in (*strides, *dilations, *sizes))) < 0:
        raise ValueError
    return [
        (dilations[i] * (sizes[i] - 1), strides[i], pads[i], pads[rank + i])
        for i in range(rank)
    ]


def _slid(node: Node, shapes: Sequence[Shape]) -> tuple[Shape, int]:
    first = shapes[0]
    kernel = _kernel(node, shapes)
    sizes = [
        (size + before + after - extent - 1) // stride + 1
        for size, (extent, stride, before, after) in zip(first[2:], kernel, strict=True)
    ]
    if node.operator == "Conv":
        channels, each = shapes[1][0], math.prod(shapes[1][1:])
    else:
        channels, each = first[1], math.prod(node.numbers["kernel_shape"])
    shape = (first[0], channels, *sizes)
    copied = math.prod(sizes) * each  # by ONNX Runtime, before it multiplies
    work = math.prod(shape) * each
    return shape, work if copied <= MOST_TOTAL else MOST_WORK + 1


def _span(node: Node, inputs: Sequence[Layout], shape: Shape) -> Span | None:
    """What the result depends on."""
    spans = [each.span for each in inputs if each.span is not None]
    if not spans:
        return None
    operator, given = node.operator, inputs[0]
    if operator in _SAME or operator in _BROADCAST:
        # The others are the same at every column.
        is_moving = all(
            each.shape[-1:] == (shape[-1:] if each.span else (1,)) or not each.shape
            for each in inputs
        )
        is_equal = all(
            before.stride == after.stride for before, after in pairwise(spans)
        )
        if is_moving and is_equal:
            return Span(spans[0].stride, max(span.reach for span in spans))
    elif len(spans) > 1:
        return _EVERYTHING
    elif operator in _SLIDING and given.span:
        extent, stride, before, after = _kernel(node, [each.shape for each in inputs])[
            -1
        ]
        if before + after == extent:
            reach = given.span.reach + max(before, after) * given.span.stride
            return Span(given.span.stride * stride, reach)
    elif operator == "MatMul" and inputs[1].span and len(inputs[1].shape) > 1:
        return inputs[1].span
    elif operator.startswith("Reduce") and given.span:
        is_last = len(given.shape) - 1 in _axes(node, inputs)
        if not is_last and len(shape) == len(given.shape):
            return given.span
    return _EVERYTHING
