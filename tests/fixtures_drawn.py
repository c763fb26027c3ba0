"""A set of drawn figures with faces, in the form in which detection data is packed."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

SIDES = (360, 240)  # width and height


@pytest.fixture(scope="session")
def drawn_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with drawn.zip: 40 pictures, each with a person and his face, every fifth with nobody."""
    folder = tmp_path_factory.mktemp("sets")
    images: list[dict[str, Any]] = []
    marks: list[dict[str, Any]] = []
    with zipfile.ZipFile(folder / "drawn.zip", "w") as packed:
        for number in range(1, 41):
            random = np.random.default_rng(number)
            image = random.integers(60, 200, (*SIDES[::-1], 3), dtype=np.uint8)
            name = f"images/{number:04}.jpg"
            if number % 5:
                marks += [mark | {"image_id": number, "id": len(marks) + 1} for mark in figure(image, random)]
            encoded = io.BytesIO(cv2.imencode(".jpg", image)[1].tobytes())
            packed.writestr(f"drawn/{name}", encoded.getvalue())
            images.append({"id": number, "file_name": name, "width": SIDES[0], "height": SIDES[1]})
            images[-1]["labelled"] = ["face", "person"]
        categories = [{"id": 1, "name": "face"}, {"id": 2, "name": "person"}]
        content = {"images": images, "annotations": marks, "categories": categories}
        packed.writestr("drawn/boxes.json", json.dumps(content))
    return folder


def figure(image: np.ndarray, random: np.random.Generator) -> list[dict[str, Any]]:
    """Draw somebody and return the marks of face and person."""
    side = int(random.integers(24, 60))
    x, y = int(random.integers(side, SIDES[0] - 2 * side)), int(random.integers(4, 60))
    points = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]]) * side + [x, y]
    cv2.rectangle(image, (x - side // 2, y + side), (x + side * 3 // 2, y + 3 * side), (120, 40, 30), -1)
    cv2.ellipse(image, (x + side // 2, y + side // 2), (side // 2, side // 2), 0, 0, 360, (150, 180, 220), -1)
    for point in points:
        cv2.circle(image, tuple(int(value) for value in point), 2, (20, 20, 20), -1)
    keypoints = np.column_stack([points, np.full(5, 2)]).ravel().tolist()
    return [
        {"category_id": 1, "bbox": [x, y, side, side], "keypoints": keypoints, "iscrowd": 0},
        {"category_id": 2, "bbox": [x - side // 2, y, 2 * side, 3 * side], "iscrowd": 0},
    ]
