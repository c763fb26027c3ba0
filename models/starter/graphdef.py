"""Reads the constants of a frozen TensorFlow graph without TensorFlow.

A GraphDef is a protocol buffer; only the few fields that lead to a `Const` node's tensor are followed, so the wire
format is read directly and no generated classes are needed.
"""

import math
from collections.abc import Iterator

import numpy as np

Fields = Iterator[tuple[int, int | memoryview]]

# Field numbers of tensorflow/core/framework: graph.proto, node_def.proto, attr_value.proto, tensor.proto.
GRAPH_NODE = 1
NODE_NAME, NODE_OPERATOR, NODE_ATTRIBUTE = 1, 2, 5
ENTRY_KEY, ENTRY_VALUE = 1, 2
VALUE_TENSOR = 8
TENSOR_TYPE, TENSOR_SHAPE, TENSOR_CONTENT, TENSOR_FLOATS = 1, 2, 4, 5
SHAPE_DIMENSION, DIMENSION_SIZE = 2, 1
FLOAT = 1  # DataType.DT_FLOAT


def float_constants(graph: bytes) -> dict[str, np.ndarray]:
    """Return the float32 constants of a serialised GraphDef by node name.

    Raises:
        ValueError: the bytes are not a GraphDef.
    """
    constants = {}
    for number, node in _fields(memoryview(graph)):
        if number != GRAPH_NODE:
            continue
        parts = list(_messages(node))
        name = next(bytes(part).decode() for field, part in parts if field == NODE_NAME)
        operator = next(bytes(part).decode() for field, part in parts if field == NODE_OPERATOR)
        if operator != "Const":
            continue
        attributes = [dict(_messages(part)) for field, part in parts if field == NODE_ATTRIBUTE]
        value = next(entry[ENTRY_VALUE] for entry in attributes if bytes(entry[ENTRY_KEY]) == b"value")
        tensor = _tensor(dict(_messages(value))[VALUE_TENSOR])
        if tensor is not None:
            constants[name] = tensor
    return constants


def _tensor(message: memoryview) -> np.ndarray | None:
    """Return a float32 TensorProto as an array; None for other types, which hold shapes and axes only."""
    numbers = {field: value for field, value in _fields(message) if isinstance(value, int)}
    if numbers.get(TENSOR_TYPE) != FLOAT:
        return None
    parts = list(_messages(message))
    dimensions = [entry for field, part in parts if field == TENSOR_SHAPE for entry in _messages(part)]
    shape = [_dimension(part) for field, part in dimensions if field == SHAPE_DIMENSION]
    content = b"".join(part for field, part in parts if field in {TENSOR_CONTENT, TENSOR_FLOATS})
    values = np.frombuffer(content, "<f4")
    # TensorFlow leaves out the repetitions of the last value.
    return np.pad(values, (0, math.prod(shape) - len(values)), mode="edge").reshape(shape)


def _dimension(message: memoryview) -> int:
    return next((int(value) for number, value in _fields(message) if number == DIMENSION_SIZE), 0)


def _messages(message: int | memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the length-delimited fields: strings, bytes and nested messages."""
    if isinstance(message, int):
        raise ValueError("a number stands where a message belongs")
    return ((number, value) for number, value in _fields(message) if isinstance(value, memoryview))


def _fields(message: memoryview) -> Fields:
    """Yield (field number, value) of one message: an int for varints, the raw bytes for everything else."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        wire = key & 7
        if wire == 0:
            value, position = _varint(message, position)
            yield key >> 3, value
            continue
        if wire == 2:
            length, position = _varint(message, position)
        elif wire in {1, 5}:
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {position}: this is no GraphDef")
        if position + length > len(message):
            raise ValueError(f"a field ends behind the message at byte {position}: this is no GraphDef")
        yield key >> 3, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return a base-128 number and the position behind it."""
    result = shift = 0
    while position < len(message):
        byte = message[position]
        position += 1
        result |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return result, position
    raise ValueError("the bytes end inside a number: this is no GraphDef")
