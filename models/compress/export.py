"""Turns a classifier into ONNX, and proves that the file answers as the net does."""

import io
import os
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from app.errors import SetupError
from app.types import Array
from models.compress.counting import is_binary
from models.compress.sessions import session
from models.starter.graph import OPSET, finished

PICTURES, LOGITS = "pictures", "logits"
TOLERANCE = 1e-4  # largest difference of a logit, as a share of the largest logit


def exported(net: nn.Module, pictures: Tensor) -> bytes:
    """Return a net in evaluation mode as ONNX: normalised ``pictures`` (n, c, h, w) to ``logits`` (n, k).

    Batch normalisations behind convolutions are folded into them. torch's newer exporter needs a package more and
    gives the same nodes for these nets.

    Args:
        net: is put into evaluation mode while it is exported, and back.
        pictures: (n, c, h, w) on which file and net are compared.

    Raises:
        SetupError: the file's logits differ by more than `TOLERANCE`: those of any picture, or of a net with binary
            layers those of the median one.
    """
    was_training = net.training
    net.eval()
    try:
        content = _written(net, pictures[:1])
        with torch.no_grad():
            expected = net(pictures).numpy()
    finally:
        net.train(was_training)
    difference = _difference(logits_of(content, pictures), expected, binary=is_binary(net))
    if not difference <= TOLERANCE:
        raise SetupError(f"the ONNX file differs from the net by {difference:.1e} of its logits, over {TOLERANCE}")
    return content


def logits_of(content: bytes, pictures: Tensor) -> Array:
    """Return the logits (n, k) that a file gives to normalised pictures (n, c, h, w)."""
    (logits,) = session(content).run([LOGITS], {PICTURES: pictures.numpy()})
    return np.asarray(logits, np.float32)


def _difference(found: Array, expected: Array, *, binary: bool) -> float:
    """Return by how much logits (n, k) differ, as a share of the largest one.

    A map's value that lies on a threshold gets one sign here and the other there, by the last bit of a float. With
    three thresholds and more that happens to many pictures of a hundred, and says nothing of the file.
    """
    of_pictures = np.abs(found - expected).max(axis=1) / max(np.abs(expected).max(), 1.0)
    return float(np.median(of_pictures) if binary else of_pictures.max())


def write(content: bytes, path: Path) -> None:
    """Write a file, whole or not at all; two processes may do so at once, as runs that share a base do."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _written(net: nn.Module, picture: Tensor) -> bytes:
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this exporter's own, and of torch's inside it
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)  # left undone for ONNX Runtime to do
        torch.onnx.export(
            net,
            (picture,),
            cast(Any, written),  # this exporter takes an open file, though it is not said of the other
            input_names=[PICTURES],
            output_names=[LOGITS],
            dynamic_axes={PICTURES: {0: "batch"}, LOGITS: {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
    return _without_identities(onnx.load_from_string(written.getvalue()))


def _without_identities(model: onnx.ModelProto) -> bytes:
    """Let every node read its constants themselves: the exporter keeps equal ones once and passes them on."""
    graph = model.graph
    ends, passed, kept = {output.name for output in graph.output}, dict[str, str](), []
    for node in graph.node:
        node.input[:] = [passed.get(name, name) for name in node.input]
        if node.op_type == "Identity" and node.output[0] not in ends:
            passed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    return finished(model)
