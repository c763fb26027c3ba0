"""Runs the source nets in TensorFlow, for the comparison with ours.

It is started as a script by an interpreter that has TensorFlow, which Cardea's own environment does not:
``PYTHON tensorflow_reference.py GRAPH TFLITE INPUTS OUTPUTS``, the last two as NumPy archives.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

PERSON_OUTPUTS = {
    "codes": "concat:0",
    "logits": "concat_1:0",
    "anchors": "Concatenate/concat:0",
    "boxes": "detection_boxes:0",
    "scores": "detection_scores:0",
    "map": "FeatureExtractor/MobilenetV2/expanded_conv_2/add:0",
}


def person(graph_file: Path, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outputs for pictures (n, 300, 300, 3), RGB uint8."""
    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(graph_file.read_bytes())
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        rows = [session.run(PERSON_OUTPUTS, {"image_tensor:0": picture[None]}) for picture in pictures]
    outputs = {name: np.concatenate([row[name] for row in rows]) for name in PERSON_OUTPUTS if name != "anchors"}
    return {**outputs, "anchors": rows[0]["anchors"]}


def embedder(tflite_file: Path, crops: np.ndarray) -> np.ndarray:
    """Return the raw vectors (n, 192) of crops (n, 112, 112, 3), RGB uint8; the file takes two at a time."""
    interpreter = tf.lite.Interpreter(str(tflite_file), num_threads=1)
    interpreter.allocate_tensors()
    entry, end = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    vectors = []
    for crop in crops:
        normalised = (crop.astype(np.float32) - 127.5) / 128
        interpreter.set_tensor(entry, np.stack([normalised, normalised]))
        interpreter.invoke()
        vectors.append(interpreter.get_tensor(end)[0].copy())
    return np.stack(vectors)


def main(arguments: list[str]) -> None:
    """Read the inputs, run both nets and write what they give."""
    graph_file, tflite_file, inputs_file, outputs_file = (Path(argument) for argument in arguments)
    with np.load(inputs_file) as inputs:
        found = person(graph_file, inputs["pictures"])
        vectors = embedder(tflite_file, inputs["crops"])
    np.savez(outputs_file, vectors=vectors, version=np.array(tf.__version__), **found)


if __name__ == "__main__":
    main(sys.argv[1:])
