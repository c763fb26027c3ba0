"""Reads a TFLite file without TensorFlow: the operators in order, the tensors they join and their constants.

A TFLite model is a flatbuffer; its tables are followed by their slots in the schema (schema.fbs of TensorFlow Lite).
"""

from dataclasses import dataclass

import numpy as np
from flatbuffers.number_types import Int8Flags, Int32Flags, UOffsetTFlags
from flatbuffers.table import Table

# Slots of schema.fbs: Model, SubGraph, Tensor, Operator, OperatorCode, Buffer.
MODEL_CODES, MODEL_GRAPHS, MODEL_BUFFERS = 1, 2, 4
GRAPH_TENSORS, GRAPH_OPERATORS = 0, 3
TENSOR_SHAPE, TENSOR_TYPE, TENSOR_BUFFER = 0, 1, 2
OPERATOR_CODE, OPERATOR_INPUTS, OPERATOR_OUTPUTS, OPERATOR_OPTIONS = 0, 1, 2, 4
CONVOLUTION_PADDING, CONVOLUTION_STRIDE = 0, 1  # the same slots in Conv2DOptions and DepthwiseConv2DOptions
SAME = 0  # Padding.SAME
CODE_OLD, CODE_NEW = 0, 3
BUFFER_DATA = 0
FLOAT = 0  # TensorType.FLOAT32
OPERATORS = {
    0: "add",
    3: "convolution",
    4: "depthwise",
    18: "multiply",
    19: "relu",
    22: "reshape",
    41: "subtract",
    101: "abs",
}


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator. Tensors are named by their row in the graph's table."""

    name: str  # of OPERATORS
    inputs: list[int]  # the computed ones
    constants: list[np.ndarray]  # the float32 ones, in the order of the inputs
    output: int
    stride: int  # of a convolution, else 1
    same: bool  # whether a convolution pads


def operators(model: bytes) -> list[Operator]:
    """Return the operators of the first graph of a serialised TFLite model.

    Raises:
        ValueError: the bytes are not a TFLite model, or it has an operator that is not listed above.
    """
    if model[4:8] != b"TFL3":
        raise ValueError("this is no TFLite model")
    root = Table(model, int.from_bytes(model[:4], "little"))
    numbers = [
        max(_number(code, CODE_OLD, Int8Flags), _number(code, CODE_NEW, Int32Flags))
        for code in _tables(root, MODEL_CODES)
    ]
    if unknown := set(numbers) - OPERATORS.keys():
        raise ValueError(f"operators {sorted(unknown)} are not known here")
    names = [OPERATORS[number] for number in numbers]
    graph, buffers = _tables(root, MODEL_GRAPHS)[0], _tables(root, MODEL_BUFFERS)
    tensors = [_constant(tensor, buffers) for tensor in _tables(graph, GRAPH_TENSORS)]
    return [_operator(table, names, tensors) for table in _tables(graph, GRAPH_OPERATORS)]


def _operator(table: Table, names: list[str], tensors: list[np.ndarray | None]) -> Operator:
    name = names[_number(table, OPERATOR_CODE, Int32Flags)]
    rows = _integers(table, OPERATOR_INPUTS)
    constants = [constant for row in rows if (constant := tensors[row]) is not None]
    stride, same = 1, False
    if name in {"convolution", "depthwise"}:
        options = _union(table, OPERATOR_OPTIONS)
        stride = _number(options, CONVOLUTION_STRIDE, Int32Flags)
        same = _number(options, CONVOLUTION_PADDING, Int8Flags) == SAME
    inputs = [row for row in rows if tensors[row] is None]
    return Operator(name, inputs, constants, _integers(table, OPERATOR_OUTPUTS)[0], stride, same)


def _constant(tensor: Table, buffers: list[Table]) -> np.ndarray | None:
    """Return a float32 tensor's stored values; None for other types and for tensors that are computed."""
    start, length = _vector(buffers[_number(tensor, TENSOR_BUFFER, Int32Flags)], BUFFER_DATA)
    if not length or _number(tensor, TENSOR_TYPE, Int8Flags) != FLOAT:
        return None
    return np.frombuffer(tensor.Bytes, "<f4", length // 4, start).reshape(_integers(tensor, TENSOR_SHAPE))


def _number(table: Table, slot: int, flags: type) -> int:
    return int(table.GetSlot(4 + 2 * slot, 0, flags))


def _union(table: Table, slot: int) -> Table:
    union = Table(bytearray(), 0)
    table.Union(union, table.Offset(4 + 2 * slot))
    return union


def _vector(table: Table, slot: int) -> tuple[int, int]:
    """Return where a vector's elements start and how many there are."""
    offset = table.Offset(4 + 2 * slot)
    return (table.Vector(offset), table.VectorLen(offset)) if offset else (0, 0)


def _tables(table: Table, slot: int) -> list[Table]:
    start, length = _vector(table, slot)
    return [Table(table.Bytes, table.Indirect(start + UOffsetTFlags.bytewidth * row)) for row in range(length)]


def _integers(table: Table, slot: int) -> list[int]:
    start, length = _vector(table, slot)
    return np.frombuffer(table.Bytes, "<i4", length, start).tolist()
