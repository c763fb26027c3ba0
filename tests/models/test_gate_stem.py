"""The gate's own stem: what it learns from, its file, and that it gives what the detector's first blocks give."""

from pathlib import Path

import numpy as np
import pytest
from fixtures_starter import take_or_skip

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from app.vision.artefact import Net, shipped  # noqa: E402
from app.vision.picture import ArrayPicture  # noqa: E402
from models.detection.gate_stem_export import gate_stem_model  # noqa: E402
from models.nets.gate_stem import FEATURES, POOLED, GateStem  # noqa: E402
from models.nets.starter_weights import load_starter  # noqa: E402
from models.pictures import as_batch, decoded, shrunk, variants  # noqa: E402
from models.precisions import HALF_STEM  # noqa: E402
from models.starter.person import HALF_SIDE  # noqa: E402
from models.starter.recipes import PERSON  # noqa: E402
from models.training.gate_stem import disturbed  # noqa: E402


def test_the_file_is_the_net(tmp_path: Path) -> None:
    torch.manual_seed(3)
    net = GateStem()
    net.train()(torch.rand(4, 1, HALF_SIDE, HALF_SIDE) * 255)  # running figures that are not 0 and 1
    path = tmp_path / HALF_STEM
    path.write_bytes(gate_stem_model(net.eval()))
    picture = np.random.default_rng(0).integers(0, 256, (1, 1, HALF_SIDE, HALF_SIDE)).astype(np.float32)
    (features,) = Net(path).run(picture)
    with torch.no_grad():
        expected = net(torch.from_numpy(picture)).numpy()
    assert features.shape == (1, FEATURES, 19, 19)
    np.testing.assert_allclose(features, expected, atol=1e-4 * np.abs(expected).max())


def test_the_shipped_stem_points_where_the_first_blocks_point(packages: Path, portrait_files: dict[str, bytes]) -> None:
    take_or_skip(PERSON.source)
    teacher, stem = load_starter(packages).stem, shipped("detector").open(HALF_STEM)
    alike = []
    for picture in (variant for portrait in decoded(portrait_files) for variant in variants(portrait)):
        batch = as_batch(shrunk(picture, HALF_SIDE, HALF_SIDE))
        with torch.no_grad():
            expected = torch.nn.functional.avg_pool2d(teacher(torch.from_numpy(batch)), POOLED)
            seen = ArrayPicture(picture).luma(HALF_SIDE, HALF_SIDE)[None, None].astype(np.float32)
            features = torch.from_numpy(stem.run(seen)[0])
            alike.append(float(torch.nn.functional.cosine_similarity(features, expected, dim=1).mean()))
    assert np.median(alike) > 0.6  # mean cosine over the cells; two random maps have 0


def test_only_some_pictures_are_disturbed_and_the_same_seed_disturbs_alike() -> None:
    pictures = torch.full((64, 3, 8, 8), 100.0)
    first, again = (disturbed(pictures, torch.Generator().manual_seed(1)) for _ in range(2))
    changed = (first != pictures).flatten(1).any(1)
    assert torch.equal(first, again)
    assert 0.4 < changed.float().mean() < 0.8
    assert first.min() >= 0 and first.max() <= 255
