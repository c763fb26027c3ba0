"""Faces as an intercom sees them, what teachers see in them, the lesson itself, and the embedder's file."""

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from fixtures_starter import take_or_skip

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from app.errors import SetupError  # noqa: E402
from app.types import Image  # noqa: E402
from app.vision.artefact import Net  # noqa: E402
from app.vision.embedder import Embedder  # noqa: E402
from app.vision.faces import CROP, FaceFinder  # noqa: E402
from app.vision.runtime import ort  # noqa: E402
from models.__main__ import main  # noqa: E402
from models.labels import SFACE  # noqa: E402
from models.nets.integer import round_everything, watch  # noqa: E402
from models.nets.mobilefacenet import Activation, MobileFaceNet  # noqa: E402
from models.nets.mobilefacenet_weights import load_starter_embedder  # noqa: E402
from models.quantise import calibrate, float_convolutions, quantised  # noqa: E402
from models.recognition.augment import seen  # noqa: E402
from models.recognition.crops import SIDE, CropSet  # noqa: E402
from models.recognition.judging import accepted  # noqa: E402
from models.recognition.onnx_writer import embedder_model  # noqa: E402
from models.recognition.teachers import joint_vectors, open_teachers  # noqa: E402
from models.run import Plan, load  # noqa: E402
from models.starter.recipes import EMBEDDER  # noqa: E402
from models.training import TASKS  # noqa: E402

PLAN = """
task = "embedder"
seed = 1
start = ["starter"]
steps = 20
batch = 2
window = [112, 112]
rate = 1e-4
warmup = 1
decay = 0.0
average = 0.5
validate_every = 20
frozen = ["*.activation.weight"]
[sets]
{name} = 1.0
[losses]
cosine = 1.0
"""
PEOPLE = ("Eileen Collins", "Grace Hopper")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory, portrait_files: dict[str, bytes]) -> Path:
    """A folder of each portrait in four sizes and two kinds of light, a landscape, and who they show."""
    folder = tmp_path_factory.mktemp("photographs")
    lines = []
    for number, person in enumerate(PEOPLE):
        portrait = cv2.imdecode(np.frombuffer(portrait_files[person], np.uint8), cv2.IMREAD_COLOR)
        for size in (1.0, 0.8, 0.6, 0.5):
            for light in (1.0, 0.7):
                name = f"{number}-{size}-{light}.png"
                shown = cv2.resize(portrait, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
                cv2.imwrite(str(folder / name), (shown * light).astype(np.uint8))
                lines.append(f"{name} {number}")
    cv2.imwrite(str(folder / "nobody.png"), np.full((200, 300, 3), 90, np.uint8))
    (folder / "people.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def crops(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> CropSet:
    """The faces of `photographs`, packed by the command."""
    out = tmp_path_factory.mktemp("faces") / "celeba_wild.zip"
    labels = str(photographs / "people.txt")
    assert main(["align", "--images", str(photographs), "--identities", labels, "--out", str(out)]) == 0
    return CropSet(out)


def test_a_packed_face_is_the_runtime_s(crops: CropSet, face_nets: tuple[FaceFinder, Embedder]) -> None:
    assert len(crops) == 16 and {entry.identity for entry in crops.entries} == {"0", "1"}
    assert crops.crop(0).shape == (SIDE, SIDE, 3) and crops.face(0).shape == (CROP, CROP, 3)
    vectors = face_nets[1].embed([crops.face(row) for row in range(len(crops))])
    people = np.array([entry.identity for entry in crops.entries])
    same = people[:, None] == people
    assert (vectors @ vectors.T)[same].min() > 0.6 > 0.3 > (vectors @ vectors.T)[~same].max()
    assert all(entry.outside == 0 for entry in crops.entries[:8])


def test_what_is_no_set_of_crops_is_told(photographs: Path) -> None:
    with pytest.raises(SetupError, match="cardea models align"):
        CropSet(photographs / "people.txt")


def test_identities_that_cannot_be_read_are_told(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["align", "--images", str(photographs), "--out", str(tmp_path / "a.zip")]
    assert main([*words, "--identities", str(tmp_path / "missing.txt")]) == 1
    assert "--identities" in capsys.readouterr().err and not (tmp_path / "a.zip").exists()


def test_damage_is_a_function_of_the_seed_and_keeps_the_person(
    crops: CropSet, face_nets: tuple[FaceFinder, Embedder]
) -> None:
    crop = crops.crop(0)
    views = [seen(crop, np.random.default_rng(seed)) for seed in range(40)]
    assert all(np.array_equal(seen(crop, np.random.default_rng(seed)), views[seed]) for seed in (0, 7))
    cosines = face_nets[1].embed(views) @ face_nets[1].embed([crops.face(0)])[0]
    assert np.median(cosines) > 0.6  # most are still the person ...
    assert cosines.min() < 0.8  # ... and some are hard


def test_the_starter_in_torch_answers_as_its_file(packages: Path, crops: CropSet) -> None:
    faces = _batch([crops.face(row) for row in range(8)])
    net = load_starter_embedder(_with(packages, EMBEDDER.source), faces)
    teacher = next(one for one in open_teachers(_with(packages, SFACE)) if one.name == "starter")
    with torch.no_grad():
        vectors = torch.nn.functional.normalize(net(faces)).numpy()
    np.testing.assert_allclose(vectors, [teacher.embed(crops.face(row)) for row in range(8)], atol=1e-5)


def test_teachers_are_asked_once(packages: Path, crops: CropSet) -> None:
    teachers, told = open_teachers(_with(packages, EMBEDDER.source, SFACE)), []
    vectors = joint_vectors(crops, teachers, told.append)
    assert vectors.shape == (16, 320) and told
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    told.clear()
    np.testing.assert_array_equal(joint_vectors(crops, teachers, told.append), vectors)
    assert not told


def test_accepted_pairs_are_counted() -> None:
    people = np.array([0, 0, 1, 1])
    rows = np.eye(4, dtype=np.float32)
    assert accepted(rows, rows, people) == 0.0  # nobody resembles anybody: as alike as impostors is not enough
    alike = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    assert accepted(alike, alike, people) == 1.0


@pytest.mark.parametrize("activation", ["prelu", "relu"])
def test_the_file_is_the_net(tmp_path: Path, crops: CropSet, activation: Activation) -> None:
    torch.manual_seed(5)
    net = MobileFaceNet(16, activation)
    faces = _batch([crops.face(row) for row in range(16)])
    net.train()(faces)  # running figures that are not 0 and 1
    path = tmp_path / "embedder.onnx"
    path.write_bytes(embedder_model(net.eval()))
    (vectors,) = Net(path).run(faces.numpy())
    with torch.no_grad():
        np.testing.assert_allclose(vectors, torch.nn.functional.normalize(net(faces)).numpy(), atol=1e-5)


def test_learning_in_integers_is_what_the_runtime_computes(crops: CropSet) -> None:
    torch.manual_seed(5)
    net = MobileFaceNet(16, "relu")
    faces = _batch([crops.face(row) for row in range(16)])
    net.train()(faces)
    with torch.no_grad():
        floats = torch.nn.functional.normalize(net.eval()(faces)).numpy()
    round_everything(net)
    watch(net, [faces])
    with torch.no_grad():
        rounded = torch.nn.functional.normalize(net(faces)).numpy()
    content = embedder_model(net)
    twin = quantised(content, calibrate(content, [faces.numpy()]))
    (integers,) = ort.InferenceSession(twin).run(None, {"crops": faces.numpy()})
    assert not float_convolutions(twin)
    assert (floats * rounded).sum(axis=1).min() < 1 - 1e-6  # something was rounded
    assert (rounded * integers).sum(axis=1).min() > 0.995
    net(faces).sum().backward()
    assert all(value.grad.abs().sum() > 0 for value in net.parameters())


def test_who_judges_is_not_trained_on(tmp_path: Path, packages: Path, crops: CropSet) -> None:
    _with(packages, EMBEDDER.source, SFACE)
    plan = tmp_path / "tiny.toml"
    plan.write_text(PLAN.format(name="celeba_wild"))
    assert main(["train", str(plan), *_where(crops, packages, tmp_path)]) == 1


@pytest.mark.timeout(600)
def test_the_smallest_runs_lead_to_files(tmp_path: Path, packages: Path, crops: CropSet) -> None:
    _with(packages, EMBEDDER.source, SFACE)
    _pack_textures(crops.path.with_name("textures.zip"))
    where, plan = _where(crops, packages, tmp_path), PLAN.format(name="textures")
    relu = plan.replace('"embedder"', '"embedder_relu"') + "maps = 1.0\n"
    # At the full rate two faces a batch leave a net whose rounding agrees with its file to .95 or so, by the processor.
    integer = plan.replace('"embedder"', '"embedder_integer"').replace('"starter"', '"relu"').replace("1e-4", "1e-6")
    for name, text in {"prelu": plan, "relu": relu, "integer": integer}.items():
        (tmp_path / f"{name}.toml").write_text(text)
        assert main(["train", str(tmp_path / f"{name}.toml"), *where]) == 0
        terms = TASKS[Plan.read(tmp_path / f"{name}.toml").task].terms
        assert set(terms) <= set((tmp_path / "runs" / name / "metrics.csv").read_text().split("\n")[0].split(","))
        out = tmp_path / name
        assert main(["export", str(tmp_path / "runs" / name), "--out", str(out), *where[:2]]) == 0
        (vectors,) = Net(out / "embedder.onnx").run(_batch([crops.face(0)]).numpy())
        assert vectors.shape == (1, 320)
    trained, starter = (
        load(tmp_path / "runs" / "prelu" / "best.pt")["net"],
        load_starter_embedder(packages, _batch([crops.face(0)] * 2)),
    )
    assert torch.equal(trained["last.activation.weight"], starter.last.activation.weight)  # frozen
    assert not torch.equal(trained["last.conv.weight"], starter.last.conv.weight)


def _batch(faces: list[Image]) -> "torch.Tensor":
    return torch.from_numpy(np.stack(faces).transpose(0, 3, 1, 2)).float()


def _with(packages: Path, *sources: object) -> Path:
    for source in sources:
        take_or_skip(source)
    return packages


def _where(crops: CropSet, packages: Path, folder: Path) -> list[str]:
    return ["--sets", str(crops.path.parent), "--runs", str(folder / "runs"), "--cache", str(packages)]


def _pack_textures(path: Path) -> None:
    """Write a set of crops that show nobody."""
    rng = np.random.default_rng(0)
    lines = ["file,source,identity,eye_distance,outside"]
    with zipfile.ZipFile(path, "w") as packed:
        for number in range(8):
            texture = cv2.GaussianBlur(rng.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8), (0, 0), 1 + number)
            packed.writestr(f"{number}.jpg", cv2.imencode(".jpg", texture)[1].tobytes())
            lines.append(f"{number}.jpg,texture,,35.0,0.0")
        packed.writestr("index.csv", "\n".join(lines))
