"""Keeps the weights of a float net's convolutions as 8-bit codes: a file of a third, and the same net once it is open.

Maps stay in float32, so nothing has to be calibrated, and any activation goes with it. The runtime multiplies codes and
scales out when it opens the file, so a picture costs what it did.
"""

import onnx
from onnx import TensorProto, helper, numpy_helper

from models.codes import quantised_weights
from models.starter.graph import finished

LEAST = 1024  # weights; with fewer, codes and scales would be hardly smaller


def with_coded_weights(model: bytes) -> bytes:
    """Return a serialised float32 net with int8 codes for weights and a scale per output channel of convolutions."""
    net = onnx.load_from_string(model)
    graph = net.graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    coded = {node.input[1] for node in graph.node if node.op_type == "Conv" and weights[node.input[1]].size >= LEAST}
    kept = [tensor for tensor in graph.initializer if tensor.name not in coded]
    opening = []
    for name in sorted(coded):
        codes, scales = quantised_weights(weights[name])
        kept.append(numpy_helper.from_array(codes, f"{name}_codes"))
        kept.append(numpy_helper.from_array(scales[:, None, None, None], f"{name}_scales"))
        opening.append(helper.make_node("Cast", [f"{name}_codes"], [f"{name}_floats"], to=TensorProto.FLOAT))
        opening.append(helper.make_node("Mul", [f"{name}_floats", f"{name}_scales"], [name]))
    steps = [*opening, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(steps)
    return finished(net)
