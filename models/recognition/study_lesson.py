"""How one student is taught by one method: what its loss is made of, and the steps.

The seed decides the first weights and which faces are in which batch, so methods of one seed differ in the lesson
alone. Faces are shown as they are: what the teacher saw was stored, and would not fit a changed picture.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.nets.mobiface import LAST, MobiFace
from models.recognition import distillation
from models.recognition.distillation import LastLayer, check_centres, class_centres
from models.recognition.hints import Hints
from models.recognition.margins import (
    SCALE,
    Margin,
    clamped_margins,
    constant_margins,
    cosines,
    margin_loss,
    published_margins,
    shuffled_margins,
)
from models.recognition.study_people import Learners
from models.recognition.study_plan import Method, StudyPlan
from models.training.fit import LARGEST_GRADIENT, optimiser_of, rate

TELL_EVERY = 50  # steps
FIXED_MAXIMUM = 1.0  # cosine that gets the largest margin where the batch does not decide


@dataclass(frozen=True, slots=True)
class Seen:
    """A batch of n faces, what student and teacher see in them."""

    vectors: Tensor  # (n, d) of the student, unit rows
    similarities: Tensor  # (n, k) of them to the student's class centres
    teacher: Tensor  # (n, d) unit rows
    teacher_similarities: Tensor  # (n, k) to the teacher's class centres
    labels: Tensor  # (n,)
    margin: Margin
    guarded: bool
    random: torch.Generator


def _margin(seen: Seen) -> Tensor:
    return margin_loss(seen.similarities, seen.labels, seen.margin, SCALE, seen.guarded)


def _margin_temperature(seen: Seen) -> Tensor:
    return distillation.margin_temperature_loss(seen.similarities, seen.teacher_similarities, seen.labels, seen.margin)


def _triplets(seen: Seen, distance: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    distances = distance(seen.vectors[:, None], seen.vectors[None])
    found = distillation.mined_triplets(distances.detach(), seen.labels, seen.random)
    anchors, positives, negatives = found.T
    near, far = (distance(seen.teacher[anchors], seen.teacher[others]) for others in (positives, negatives))
    margins = distillation.triplet_margins(near, far)
    return distillation.triplet_loss(distances[anchors, positives], distances[anchors, negatives], margins)


LOSSES: dict[str, Callable[[Seen], Tensor]] = {  # by the term of a method; "hint" has maps of its own
    "margin": _margin,
    "hinton": lambda seen: distillation.hinton_loss(SCALE * seen.similarities, SCALE * seen.teacher_similarities),
    "logits": lambda seen: distillation.logit_loss(SCALE * seen.similarities, SCALE * seen.teacher_similarities),
    "margin_temperature": _margin_temperature,
    "cosine": lambda seen: distillation.cosine_loss(seen.vectors, seen.teacher),
    "angular": lambda seen: distillation.angular_loss(seen.vectors, seen.teacher),
    "triplet_l2": lambda seen: _triplets(seen, distillation.squared_distances),
    "triplet_cosine": lambda seen: _triplets(seen, distillation.angles),
    "relation_distance": lambda seen: distillation.relation_distance_loss(seen.vectors, seen.teacher),
    "relation_angle": lambda seen: distillation.relation_angle_loss(seen.vectors, seen.teacher),
}


class Lesson:
    """A student, its last layer and what a method makes of them."""

    def __init__(self, method: Method, plan: StudyPlan, learners: Learners, hints: Hints | None, seed: int) -> None:
        """Begin with the first weights of a seed.

        Args:
            method: of the plan.
            plan: budget and student.
            learners: who is trained on.
            hints: the teacher's maps, for methods with the term "hint".
            seed: of weights and batches.

        Raises:
            SetupError: the teacher's vectors do not fit the labels.
        """
        torch.manual_seed(seed)
        self._method, self._plan, self._hints, self._learners = method, plan, hints, learners
        self._teacher, self._labels = torch.from_numpy(learners.teacher), torch.from_numpy(learners.labels)
        self._centres = class_centres(self._teacher, self._labels, learners.classes)
        self._rows = [np.flatnonzero(learners.labels == person) for person in range(learners.classes)]
        self._check()
        self.student = MobiFace(self._centres.shape[1], "relu", width=plan.width)
        new = torch.nn.init.xavier_normal_(torch.empty_like(self._centres))
        self.layer = LastLayer(new if method.layer == "new" else self._centres, trainable=method.layer != "frozen")
        self._regressor = nn.Conv2d(LAST, hints.channels, 1) if hints else nn.Identity()
        self._random, self._seed = torch.Generator().manual_seed(seed), seed

    def _check(self) -> None:
        """Check the centres of every second photograph by the others: a mean is near whatever it was taken of."""
        first, second = (np.concatenate([rows[part::2] for rows in self._rows]) for part in (0, 1))
        centres = class_centres(self._teacher[first], self._labels[first], self._learners.classes)
        check_centres(self._teacher[second], self._labels[second], centres)

    def teach(self, say: Callable[[str], None]) -> float:
        """Take all steps of the plan; return the mean loss of the last ones."""
        taught = nn.ModuleList([self.student, self.layer, self._regressor]).train()
        optimiser = optimiser_of(taught, self._plan)
        losses: list[float] = []
        for step in range(self._plan.steps):
            for group in optimiser.param_groups:
                group["lr"] = rate(self._plan, step)
            loss = self.loss(step)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(taught.parameters(), LARGEST_GRADIENT)
            optimiser.step()
            losses = [*losses[1 - TELL_EVERY :], float(loss.detach())]
            if (step + 1) % TELL_EVERY == 0:
                say(f"step {step + 1} of {self._plan.steps}, loss {np.mean(losses):.4g}")
        return float(np.mean(losses))

    def loss(self, step: int) -> Tensor:
        """Return the weighted loss of a step's batch."""
        weights = self._method.weights(step / self._plan.steps)
        rng = np.random.default_rng([self._seed, step])
        if "hint" in weights:
            return weights["hint"] * self._hint(rng)
        seen = self._see(_batch(self._rows, self._plan, rng))
        return torch.stack([weight * LOSSES[name](seen) for name, weight in weights.items()]).sum()

    def _hint(self, rng: Generator) -> Tensor:
        assert self._hints is not None
        rows, maps = self._hints.batch(self._plan.people * self._plan.each, rng)
        regressed = self._regressor(self.student.maps(_pictures(self._learners.faces[rows])))
        return distillation.hint_loss(regressed, maps)

    def _see(self, rows: NDArray[np.int64]) -> Seen:
        vectors = functional.normalize(self.student(_pictures(self._learners.faces[rows])))
        teacher, labels = self._teacher[rows], self._labels[rows]
        similar = cosines(teacher, self._centres)
        own = similar.gather(1, labels[:, None])[:, 0]
        return Seen(
            vectors,
            self.layer(vectors),
            teacher,
            similar,
            labels,
            self._margin_of(own),
            self._method.rule != "published",
            self._random,
        )

    def _margin_of(self, own: Tensor) -> Margin:
        """Return the margin of each sample by the teacher's cosine (n,) to its class centre."""
        method = self._method
        if method.rule == "same":
            return Margin(*method.margin)
        rule = published_margins if method.rule == "published" else clamped_margins
        maximum = FIXED_MAXIMUM if method.rule == "fixed_maximum" else None
        angles = rule(own, method.smallest, method.largest, maximum)
        if method.rule == "shuffled":
            angles = shuffled_margins(angles, self._random)
        if method.rule == "constant":
            angles = constant_margins(angles)
        return Margin(angle=angles)


def _batch(rows: Sequence[NDArray[np.int64]], plan: StudyPlan, rng: Generator) -> NDArray[np.int64]:
    """Return rows (people each,) of people drawn without replacement; who has too few photographs shows some again."""
    people = rng.choice(len(rows), plan.people, replace=False)
    return np.concatenate([rng.choice(rows[person], plan.each, len(rows[person]) < plan.each) for person in people])


def _pictures(faces: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(faces).float().contiguous(memory_format=torch.channels_last)
