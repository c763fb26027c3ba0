"""Photos to enrol: the two portraits, small, and as many other pictures of the same two people as a test wants."""

import io

import pytest
from PIL import Image

COLLINS, HOPPER = "Eileen Collins", "Grace Hopper"
SIDE = 256  # pixels of the short side: quick to judge, and the face still has some 50 between the eyes


@pytest.fixture(scope="session")
def faces(portrait_files: dict[str, bytes]) -> dict[str, bytes]:
    """A small photo of each of the two."""
    return {name: another(photo, 0) for name, photo in portrait_files.items()}


def another(photo: bytes, number: int) -> bytes:
    """A photo of the same person, turned a little and darker: another file for every number from 0 to 99."""
    picture = Image.open(io.BytesIO(photo)).convert("RGB")
    scale = SIDE / min(picture.size)
    smaller = picture.resize((round(picture.width * scale), round(picture.height * scale)))
    turned = smaller.rotate(number % 10 - 5, Image.Resampling.BICUBIC, fillcolor="grey")
    out = io.BytesIO()
    turned.point(lambda value: value * (100 - number // 10) // 100).save(out, "JPEG", quality=85)
    return out.getvalue()
