"""Held-out people who judge an embedder while it learns: photographs as they are, and as an intercom would see them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.types import Array
from models.impostors import threshold_at
from models.labels import check_labels
from models.recognition.augment import seen
from models.recognition.crops import CropSet

PEOPLE, PHOTOGRAPHS = 80, 8  # that judge, at most; photographs of each name
RATE = 1e-3  # false-match rate at which nets are compared
SEED = 0
BATCH = 64


@dataclass(frozen=True, slots=True)
class Judges:
    """Faces of people who are never trained on; row i of each field is one photograph."""

    people: NDArray[np.int64]  # (n,) numbers
    clean: NDArray[np.uint8]  # (n, 3, 112, 112) BGR
    damaged: NDArray[np.uint8]  # the same
    teacher: Array  # (n, d) its vectors of the clean ones

    def figures(self, net: nn.Module) -> dict[str, float]:
        """Return the accepted shares at `RATE`, mean cosines to the teacher, and ``score``, the mean of the former."""
        clean, damaged = unit_vectors(net, self.clean), unit_vectors(net, self.damaged)
        found = {
            "clean": accepted(clean, clean, self.people),
            "damaged": accepted(clean, damaged, self.people),
            "clean_cosine": float((clean * self.teacher).sum(axis=1).mean()),
            "damaged_cosine": float((damaged * self.teacher).sum(axis=1).mean()),
        }
        return found | {"score": (found["clean"] + found["damaged"]) / 2}


def choose_judges(crops: CropSet, vectors: Array) -> Judges:
    """Return the first photographs of people spread over the set, without those that are labelled wrongly.

    Names are chosen, so that who judges does not change with what is found out about others. Two of them that are one
    person's have one number, or they would be judged as each other's impostors.

    Args:
        crops: a set with identities.
        vectors: (n, d) what the teacher sees in each.
    """
    names = np.array([entry.identity for entry in crops.entries])
    labels = check_labels(names, np.arange(len(names)), vectors)
    kept = labels.kept & (names != "")
    listed = np.unique(names[kept])
    chosen = listed[np.linspace(0, len(listed) - 1, min(PEOPLE, len(listed))).astype(int)]
    rows = np.concatenate([np.flatnonzero(kept & (names == name))[:PHOTOGRAPHS] for name in chosen])
    damaged = [seen(crops.crop(row), np.random.default_rng([SEED, row])) for row in rows]
    return Judges(
        np.unique(labels.groups[rows], return_inverse=True)[1],
        np.stack([crops.face(row).transpose(2, 0, 1) for row in rows]),
        np.stack([face.transpose(2, 0, 1) for face in damaged]),
        vectors[rows],
    )


def unit_vectors(net: nn.Module, faces: NDArray[np.uint8]) -> Array:
    """Return the unit vectors (n, d) of faces (n, 3, 112, 112); the net is in evaluation mode."""
    where = next(net.parameters()).device
    found: list[Tensor] = []
    with torch.no_grad():
        for part in np.split(faces, range(BATCH, len(faces), BATCH)):
            batch = torch.from_numpy(part).to(where).float().contiguous(memory_format=torch.channels_last)
            found.append(torch.nn.functional.normalize(net(batch)).cpu())
    return np.asarray(torch.cat(found).numpy())


def accepted(gallery: Array, probes: Array, people: NDArray[np.int64]) -> float:
    """Return the share of pairs of one person that reach the cosine at which `RATE` of pairs of two people do.

    Args:
        gallery: (n, d) unit rows.
        probes: (n, d) the same photographs; a photograph is not compared with itself.
        people: (n,) who they show.
    """
    cosines, same = gallery @ probes.T, people[:, None] == people
    impostors = np.sort(cosines[~same])[::-1]
    np.fill_diagonal(same, False)
    return float((cosines[same] >= threshold_at(impostors, RATE)).mean())
