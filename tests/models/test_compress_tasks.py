"""What a compression learns and what its run file says: parts that have nothing in common, fields that are checked."""

import csv
import io
import itertools
import json
import tomllib
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from compress_runs import SMALLEST

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")
pytest.importorskip("sklearn", reason="needs the train extra: pip install scikit-learn")

from app.errors import SetupError  # noqa: E402
from models.compress.grid import cells  # noqa: E402
from models.compress.kinds import KINDS  # noqa: E402
from models.compress.run_file import Accept, RunFile, check_order, digest  # noqa: E402
from models.compress.tasks import SAME_BITS, Seen, Task, TaskPlan, gradient_hash, open_task, place  # noqa: E402
from models.recognition.crops import INDEX, SIDE  # noqa: E402

RUNS = Path(__file__).parents[2] / "models" / "runs" / "compress"


# Tasks


PARTS = ("test", "validation", "train")


@pytest.fixture(scope="module")
def digits() -> Task:
    """All digits as they come, so that what is in a part is what was hashed."""
    return open_task(TaskPlan(name="digits", side=8), [])


def test_parts_are_always_the_same(digits: Task) -> None:
    again = open_task(TaskPlan(name="digits", side=8), [])
    assert again.digest == digits.digest and digits.classes == tuple("0123456789")
    assert [len(getattr(digits, name)) for name in PARTS] == [544, 294, 951]


def test_nothing_nearly_identical_is_in_two_parts(digits: Task) -> None:
    hashes = {
        name: [gradient_hash(np.ascontiguousarray(one.transpose(1, 2, 0))) for one in getattr(digits, name).pictures]
        for name in PARTS
    }
    for first, second in itertools.combinations(PARTS, 2):
        nearest = min((one ^ other).bit_count() for one in hashes[first] for other in hashes[second])
        assert nearest > SAME_BITS


def test_smaller_parts_are_contained_in_larger_ones(digits: Task) -> None:
    small = open_task(TaskPlan(name="digits", side=8, train=50, validation=20, test=30), [])
    for name in PARTS:
        part, whole = getattr(small, name), getattr(digits, name)
        assert np.array_equal(part.pictures, whole.pictures[: len(part)])
        assert len(part) == {"train": 50, "validation": 20, "test": 30}[name]


def test_nearly_identical_pictures_are_told_from_others() -> None:
    seen = Seen()
    seen.add([0, (1 << 128) - 1])
    assert seen.near(0b111) and seen.near(1 << 31 | 1 << 63 | 1 << 127) and seen.near((1 << 128) - 1 - (1 << 64))
    assert not seen.near(0b1111) and not seen.near(1 << 5 | 1 << 37 | 1 << 69 | 1 << 101)
    grey = np.tile(np.arange(0, 240, 10).astype(np.uint8), (24, 1))
    rising = np.repeat(grey[..., None], 3, axis=2)
    assert gradient_hash(rising) == (1 << 128) - (1 << 64)  # all bits of the half that looks across
    assert gradient_hash(np.ascontiguousarray(rising[:, ::-1])) == 0


def pack(folder: Path, people: int, each: int, copies: int = 0) -> None:
    """Write a set of crops and its table, every person of one age; the last `copies` are repeated."""
    lines, table = ["file,source,identity,eye_distance,outside"], ["file,age,race"]
    with zipfile.ZipFile(folder / "drawn.zip", "w") as packed:
        for number in range(people * each + copies):
            original = number if number < people * each else number - copies
            person = original // each
            random = np.random.default_rng(original)
            image = cv2.resize(random.integers(0, 256, (9, 9, 3), dtype=np.uint8), (SIDE, SIDE))
            packed.writestr(f"{number}.jpg", cv2.imencode(".jpg", image)[1].tobytes())
            lines.append(f"{number}.jpg,somewhere/train/{number}.jpg,p{person},60,0.0")
            table.append(f"train/{number}.jpg,{('03-Sep', 'more than 70', '0-2', '10-19')[person % 4]},g")
        packed.writestr(INDEX, "\n".join(lines))
    (folder / "drawn.csv").write_text("\n".join(table))


def test_faces_have_the_labels_of_their_table_and_no_person_in_two_parts(tmp_path: Path) -> None:
    pack(tmp_path, 80, 2)
    found = open_task(TaskPlan(name="faces", set="drawn", side=24), [tmp_path])
    assert found.classes == ("0-2", "3-9", "10-19", "more than 70")
    assert len(found.train) + len(found.validation) + len(found.test) == 160
    expected = sum(place(f"p{person}") < 0.3 for person in range(80))
    assert len(found.test) == 2 * expected and found.test.pictures.shape[1:] == (3, 24, 24)


def test_pictures_seen_in_an_earlier_part_are_left_out_of_later_ones(tmp_path: Path) -> None:
    pack(tmp_path, 40, 1, copies=40)
    with zipfile.ZipFile(tmp_path / "drawn.zip") as packed:
        index = list(csv.DictReader(io.StringIO(packed.read(INDEX).decode())))
    bounds = (0.0, 0.3, 0.45, 1.0)

    def part(row: int) -> int:
        return int(np.searchsorted(bounds, place(index[row]["source"]), side="right")) - 1

    kept = sum(1 + (part(row) == part(row + 40)) for row in range(40))
    found = open_task(TaskPlan(name="identities", set="drawn", people=40), [tmp_path])
    assert len(found.train) + len(found.validation) + len(found.test) == kept < 80


def test_identities_are_those_with_most_pictures(tmp_path: Path) -> None:
    pack(tmp_path, 6, 12, copies=12)  # the copies are p5's, so it has most
    found = open_task(TaskPlan(name="identities", set="drawn", people=2, side=20), [tmp_path])
    assert found.classes == ("p0", "p5")
    with pytest.raises(SetupError, match="knows 6 people, people is 7"):
        open_task(TaskPlan(name="identities", set="drawn", people=7), [tmp_path])


def test_tasks_that_cannot_be_opened_say_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"no drawn\.zip"):
        open_task(TaskPlan(name="faces", set="drawn"), [tmp_path])
    pack(tmp_path, 8, 2)
    with pytest.raises(SetupError, match="needs the columns file and gender"):
        open_task(TaskPlan(name="faces", set="drawn", label="gender"), [tmp_path])
    with pytest.raises(SetupError, match="1 classes; look at label"):
        open_task(TaskPlan(name="faces", set="drawn", label="race"), [tmp_path])
    with pytest.raises(SetupError, match="pictures for test, 1000 are wanted"):
        open_task(TaskPlan(name="faces", set="drawn", test=1000), [tmp_path])
    (tmp_path / "drawn.csv").unlink()
    with pytest.raises(SetupError, match=r"drawn\.csv is no table of labels"):
        open_task(TaskPlan(name="faces", set="drawn"), [tmp_path])


# Run files


@pytest.mark.parametrize("file", sorted(RUNS.rglob("*.toml")), ids=lambda file: str(file.relative_to(RUNS)))
def test_run_files_can_be_read(file: Path) -> None:
    if file.name.startswith("grid"):
        assert cells(file)
    else:
        plan = RunFile.read(file)
        assert plan.stages and json.loads(json.dumps(plan.resolved())) == plan.resolved()


WRONG = {
    "no seed": ("seed = 0\n", "", "seed is None"),
    "a word for the seed": ("seed = 0", 'seed = "0"', "seed is '0'"),
    "an unknown table": ("[net]", "[nets]\n[net]", "nets is unknown; there are seed, task"),
    "an unknown task": ('name = "digits"', 'name = "digit"', "task: name is 'digit', none of digits, faces"),
    "a set of digits": ('name = "digits"', 'name = "digits"\nset = "a"', "task: set names the packed set"),
    "a tiny side": ("side = 8", "side = 4", "task: side is 4"),
    "an unknown net": ('"resnet8"', '"resnet9"', "net: name is 'resnet9', none of resnet18"),
    "no width": ("width = 8", "width = 0", "net: width is 0"),
    "an unknown key": ("width = 8", "widht = 8", "net: widht is unknown; there are name, width, stem"),
    "a missing key": ("rate = 0.05\n", "", "base: rate is missing"),
    "a word for a number": ("rate = 0.05", 'rate = "0.05"', r"base.rate is '0.05', not float"),
    "a fraction for a whole number": ("epochs = 4\n", "epochs = 1.5\n", r"base.epochs is 1.5, not int"),
    "a truth for a number": ("epochs = 4\n", "epochs = true\n", r"base.epochs is True, not int"),
    "no rate": ("rate = 0.05", "rate = 0", "base: rate is 0"),
    "an unknown optimiser": ("rate = 0.05", 'rate = 0.05\noptimiser = "adam"', "base: optimiser is 'adam'"),
    "a batch of one": ("batch = 16", "batch = 1", "base: batch is 1"),
    "one bracket": ('[[stage]]\nkind = "distil"\nepochs = 2\nfinetune = 1\n[[stage]]', "[stage]", "two brackets"),
    "an unknown kind": ('"distil"', '"distill"', "stage 1: kind is 'distill', none of prune.sfp"),
    "a stage's unknown key": ("finetune = 1", "T = 4", r"stage 1 \(distil\): T is unknown; there are epochs"),
    "a stage's wrong value": ("finetune = 1", "share = 2", r"stage 1 \(distil\): share is 2.0; it is a number from"),
    "no temperature": ("finetune = 1", "temperature = 0", r"stage 1 \(distil\): temperature is 0.0"),
    "negative epochs": ("epochs = 2", "epochs = -1", r"stage 1 \(distil\): epochs and finetune are 0 at least"),
    "a stage's wrong tuning": ("finetune = 1", "tuning = { rate = -1.0 }", r"stage 1 \(distil\).tuning: rate is -1.0"),
    "few pictures to calibrate": ("calibrate = 200", "calibrate = 100", r"\(quantise.int8\): calibrate is 100"),
    "more pictures to calibrate than are looked at": (
        "calibrate = 200",
        "calibrate = 4097",
        r"\(quantise.int8\): calibrate is 4097; ranges of maps need 200 to 4096",
    ),
    "a rate without an end": ("rate = 0.05", "rate = inf", "base.rate is inf, no finite number"),
    "a number that is none": ("finetune = 1", "temperature = nan", r"stage 1 \(distil\).temperature is nan"),
    "a number for the tuning": ("seed = 0", "seed = 0\ntuning = 3", "tuning is 3; it is a table"),
    "a number for a stage's tuning": ("finetune = 1", "tuning = 3", r"stage 1 \(distil\).tuning is 3; it is a table"),
    "several kinds": ('kind = "distil"', 'kind = ["distil"]', r"stage 1: kind is \['distil'\], none of"),
    "several rules": (
        '"distil"\nepochs = 2\nfinetune = 1',
        '"factorise.musco"\nrank = { rule = ["cut"] }',
        r"rank.rule is \['cut'\], none of",
    ),
    "training in 8 bits": ("calibrate = 200", "epochs = 1", r"\(quantise.int8\): epochs, finetune and rounds"),
    "a wrong order": (
        '"distil"\nepochs = 2\nfinetune = 1',
        '"quantise.int8"',
        "cannot come behind quantise.int8: it is",
    ),
    "a drop above 1": ('[[stage]]\nkind = "d', '[accept]\nmax_drop = 2\n[[stage]]\nkind = "d', "accept: max_drop and"),
    "no way to fail": (
        '[[stage]]\nkind = "d',
        '[accept]\non_fail = "cry"\n[[stage]]\nkind = "d',
        "accept: on_fail is 'cry', none of stop, go_on",
    ),
}


@pytest.mark.parametrize(("old", "new", "told"), WRONG.values(), ids=WRONG)
def test_wrong_run_files_are_refused_and_name_the_field(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in SMALLEST
    (tmp_path / "run.toml").write_text(SMALLEST.replace(old, new))
    with pytest.raises(SetupError, match=told):
        RunFile.read(tmp_path / "run.toml")


def test_a_list_of_other_things_than_stages_is_refused() -> None:
    with pytest.raises(SetupError, match="stage 2 is 1; it is a table"):
        RunFile.of(tomllib.loads(SMALLEST) | {"stage": [{"kind": "distil"}, 1]}, "it")


@pytest.mark.parametrize(("base", "now"), [(0.95, 0.94), (0.97, 0.96), (0.5, 0.49)])
def test_what_is_lost_may_be_as_much_as_is_accepted(base: float, now: float) -> None:
    assert Accept(max_drop=0.01).allows(base - now) and not Accept(max_drop=0.0099).allows(base - now)


def test_a_file_that_is_none_is_told_by_its_name(tmp_path: Path) -> None:
    for content in ("seed = ", "\xff"):
        (tmp_path / "run.toml").write_text(content, encoding="latin-1")
        with pytest.raises(SetupError, match=r"run\.toml cannot be read"):
            RunFile.read(tmp_path / "run.toml")
    with pytest.raises(SetupError, match=r"nowhere\.toml cannot be read"):
        RunFile.read(tmp_path / "nowhere.toml")


def test_stages_are_trained_as_the_base_is_where_nothing_else_is_said() -> None:
    plan = RunFile.of(tomllib.loads(SMALLEST + "[tuning]\nrate = 0.01\n"), "it")
    assert [stage.tuning.rate for stage in plan.stages] == [0.01, 0.01] and plan.base.rate == 0.05
    text = SMALLEST.replace("finetune = 1", "tuning = { rate = 0.02, mirror = true }")
    first, second = RunFile.of(tomllib.loads(text), "it").stages
    assert (first.tuning.rate, first.tuning.mirror) == (0.02, True) and second.tuning.rate == 0.05


def test_a_hash_depends_on_what_is_said_and_on_nothing_else() -> None:
    def hashed(text: str) -> str:
        return digest(RunFile.of(tomllib.loads(text), "it").resolved())

    assert hashed(SMALLEST) == hashed(SMALLEST.replace("batch = 16", "batch = 16\nmirror = false"))
    changed = [("width = 8", "width = 9"), ("epochs = 2", "epochs = 3"), ("seed = 0", "seed = 1")]
    assert len({hashed(SMALLEST.replace(old, new)) for old, new in changed} | {hashed(SMALLEST)}) == 4


FOLLOWERS = {  # of each kind
    "prune.sfp": set(KINDS),
    "distil": set(KINDS),
    "factorise.musco": {"factorise.musco", "train.svd", "reduce.ron", "distil", "quantise.int8"},
    "train.svd": {"factorise.musco", "train.svd", "reduce.ron", "distil", "quantise.int8"},
    "binarise": {"binarise", "distil"},
    "reduce.ron": {"quantise.int8"},
    "quantise.int8": set(),
}


@pytest.mark.parametrize("later", KINDS)
@pytest.mark.parametrize("earlier", KINDS)
def test_stages_stand_in_an_order_that_works(earlier: str, later: str) -> None:
    if later in FOLLOWERS[earlier]:
        check_order([earlier, "distil", later] if "distil" in FOLLOWERS[earlier] else [earlier, later])
    else:
        with pytest.raises(ValueError, match=f"stage {later} cannot come behind {earlier}: [a-z]"):
            check_order([earlier, later])
