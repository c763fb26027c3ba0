"""Training: one loop for all nets, and a task for each thing that is learned."""

from dataclasses import dataclass

from models.nets.early_exit import HEIGHT, WIDTH
from models.starter.person import HALF_SIDE


@dataclass(frozen=True, slots=True)
class Kind:
    """What a run file may ask of a task."""

    module: str  # with the class Task
    size: tuple[int, int]  # width and height of the pictures that the net sees, and of the largest window
    terms: tuple[str, ...]  # of the loss


PERSONS = ("person", "person_boxes")
FACES = ("face", "face_boxes", "face_points")
TAUGHT = ("maps", "imitation", "imitation_boxes")  # terms that the starter is asked for

TASKS = {  # by the name in a run file
    "stem": Kind("models.training.stem", (WIDTH, HEIGHT), ("map",)),
    "gate_stem": Kind("models.training.gate_stem", (HALF_SIDE, HALF_SIDE), ("features", "direction")),
    "detector": Kind("models.training.detector", (WIDTH, HEIGHT), (*TAUGHT, *PERSONS, *FACES)),
}
