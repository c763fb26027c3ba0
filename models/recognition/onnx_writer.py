"""Writes a MobileFaceNet as ONNX, batch normalisation folded into the convolutions."""

from dataclasses import replace

import numpy as np

from models.nets.mobilefacenet import SIDE, Bottleneck, Layer, MobileFaceNet, SplitPReLU
from models.starter.embedder import SHORTEST, prelu
from models.starter.graph import Graph, Map


def embedder_model(net: MobileFaceNet) -> bytes:
    """Return the net: BGR crops (n, 3, 112, 112) of 0..255 to unit vectors ``embedding`` (n, d)."""
    graph = Graph("face embedder", {"crops": ["batch", 3, SIDE, SIDE]})
    cells = graph.normalised(Map("crops", 3, SIDE, SIDE), 1 / 128, -127.5 / 128)
    cells = layer(graph, layer(graph, cells, net.first), net.second)
    for block in net.blocks:
        assert isinstance(block, Bottleneck)
        inside = layer(graph, layer(graph, layer(graph, cells, block.expand), block.depthwise), block.project)
        cells = graph.sum(cells, inside) if block.adds else inside
    cells = layer(graph, layer(graph, layer(graph, cells, net.last), net.pool), net.embed)
    vector = graph.node("Flatten", cells.name, axis=1)
    length = graph.node("ReduceL2", vector, axes=[1], keepdims=1)
    length = graph.node("Max", length, graph.constant(np.float32(SHORTEST)))
    graph.node("Div", vector, length, output="embedding")
    return graph.model({"embedding": ["batch", cells.channels]})


def layer(graph: Graph, source: Map, module: Layer) -> Map:
    """Add a layer."""
    weights, bias = (values.double().cpu().numpy() for values in module.folded())
    output = graph.convolution(source, weights, bias, module.conv.stride[0], module.padded)
    if isinstance(module.activation, SplitPReLU):
        return prelu(graph, output, module.activation.weight.detach().cpu().numpy())
    return output if module.linear else replace(output, name=graph.node("Relu", output.name))
