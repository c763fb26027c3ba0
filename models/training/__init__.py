"""Training: one loop for all nets, and a task for each thing that is learned."""

from dataclasses import dataclass

from app.vision.faces import CROP
from models.starter.person import HALF_SIDE, SIDE


@dataclass(frozen=True, slots=True)
class Kind:
    """What a run file may ask of a task."""

    module: str  # with the class Task
    size: tuple[int, int]  # width and height of the pictures that the net sees, and of the largest window
    terms: tuple[str, ...]  # of the loss
    sets: str = "sets"  # folder in the cache: of pictures, or of aligned faces


PERSONS = ("person", "person_boxes")
FACES = ("face", "face_boxes", "face_points")
TAUGHT = ("maps", "imitation", "imitation_boxes")  # terms that the starter is asked for

TASKS = {  # by the name in a run file
    "gate_stem": Kind("models.training.gate_stem", (HALF_SIDE, HALF_SIDE), ("features", "direction")),
    "embedder": Kind("models.training.embedder", (CROP, CROP), ("cosine",), "faces"),
    "embedder_relu": Kind("models.training.embedder_relu", (CROP, CROP), ("cosine", "maps"), "faces"),
    "embedder_integer": Kind("models.training.embedder_integer", (CROP, CROP), ("cosine",), "faces"),
    "persons": Kind("models.training.detector", (SIDE, SIDE), (*TAUGHT, *PERSONS)),
    "detector": Kind("models.training.detector", (SIDE, SIDE), (*TAUGHT, *PERSONS, *FACES)),
}
