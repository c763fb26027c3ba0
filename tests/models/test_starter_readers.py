"""The readers of foreign formats, on files written here field by field."""

import flatbuffers
import numpy as np
import pytest

from models.starter.graphdef import float_constants
from models.starter.tflite import operators


def varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def chunk(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def node(name: str, operator: str, tensor: bytes = b"") -> bytes:
    value = chunk(5, chunk(1, b"value") + chunk(2, chunk(8, tensor)))
    return chunk(1, chunk(1, name.encode()) + chunk(2, operator.encode()) + chunk(3, b"input") + value)


def shape(*sides: int) -> bytes:
    return chunk(2, b"".join(chunk(2, number(1, side)) for side in sides))


VALUES = np.arange(300, dtype=np.float32)


def test_float_constants_are_read_in_both_codings() -> None:
    graph = (
        node("weights", "Const", number(1, 1) + shape(3, 100) + chunk(4, VALUES.tobytes()))
        + node("listed", "Const", number(1, 1) + shape(3) + chunk(5, VALUES[:3].tobytes()))
        + node("scalar", "Const", number(1, 1) + chunk(2, b"") + chunk(5, VALUES[7:8].tobytes()))
        + chunk(4, b"versions of the producer are passed over")
    )
    constants = float_constants(graph)
    np.testing.assert_array_equal(constants["weights"], VALUES.reshape(3, 100))
    np.testing.assert_array_equal(constants["listed"], [0, 1, 2])
    assert constants["scalar"].shape == () and constants["scalar"] == 7


def test_left_out_repetitions_are_filled_in() -> None:
    graph = node("same", "Const", number(1, 1) + shape(2, 2) + chunk(5, VALUES[4:6].tobytes()))
    np.testing.assert_array_equal(float_constants(graph)["same"], [[4, 5], [5, 5]])


def test_other_types_and_operators_are_passed_over() -> None:
    integers = node("axis", "Const", number(1, 3) + shape(1) + chunk(7, varint(3)))
    assert float_constants(integers + node("sum", "Add")) == {}


@pytest.mark.parametrize(
    "broken", [b"\x0a\xff", chunk(1, chunk(1, b"name"))[:-2], b"\x0b", b"\x80" * 4, number(1, 5)], ids=range(5)
)
def test_broken_graphs_are_refused(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"GraphDef|belongs"):
        float_constants(broken)


def table(builder: flatbuffers.Builder, **slots: tuple[str, int]) -> int:
    """Write a table; slot names are ``s0`` and so on, values (kind, value)."""
    builder.StartObject(max(int(name[1:]) for name in slots) + 1)
    for name, (kind, value) in slots.items():
        place = int(name[1:])
        if kind == "offset":
            builder.PrependUOffsetTRelativeSlot(place, value, 0)
        elif kind == "int":
            builder.PrependInt32Slot(place, value, 0)
        else:
            builder.PrependInt8Slot(place, value, 0)
    return builder.EndObject()


def vector(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def integers(builder: flatbuffers.Builder, values: list[int]) -> int:
    return builder.CreateNumpyVector(np.array(values, np.int32))


def tflite_model(code: int) -> bytes:
    """One operator with this code on tensor 0, weights in tensor 1, output in tensor 2; padding VALID, stride 2."""
    builder = flatbuffers.Builder()
    data = builder.CreateNumpyVector(np.frombuffer(VALUES[:4].tobytes(), np.uint8))
    buffers = vector(builder, [table(builder, s0=("offset", data)), table(builder, s1=("int", 1))][::-1])
    tensors = []
    for sides, buffer in (([1, 2], 0), ([2, 2], 1), ([1, 2], 0)):
        sizes = integers(builder, sides)
        tensors.append(table(builder, s0=("offset", sizes), s2=("int", buffer)))
    inputs, outputs = integers(builder, [0, 1]), integers(builder, [2])
    options = table(builder, s0=("byte", 1), s1=("int", 2))
    step = table(builder, s1=("offset", inputs), s2=("offset", outputs), s3=("byte", 1), s4=("offset", options))
    rows, steps = vector(builder, tensors), vector(builder, [step])
    graph = table(builder, s0=("offset", rows), s3=("offset", steps))
    codes = vector(builder, [table(builder, s0=("byte", code))])
    graphs = vector(builder, [graph])
    builder.Finish(
        table(builder, s1=("offset", codes), s2=("offset", graphs), s4=("offset", buffers)), file_identifier=b"TFL3"
    )
    return bytes(builder.Output())


def test_an_operator_and_its_constants_are_read() -> None:
    (step,) = operators(tflite_model(3))
    assert (step.name, step.inputs, step.output, step.stride, step.same) == ("convolution", [0], 2, 2, False)
    np.testing.assert_array_equal(step.constants[0], VALUES[:4].reshape(2, 2))


def test_unknown_operators_and_other_files_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[99\]"):
        operators(tflite_model(99))
    with pytest.raises(ValueError, match="no TFLite"):
        operators(b"\x00" * 100)
