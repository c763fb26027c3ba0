"""What a student has in common with its teacher: values worked out apart, gradients, and the copied last layer."""

import hashlib
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install torch")

from app.errors import SetupError  # noqa: E402
from models.recognition.distillation import (  # noqa: E402
    LastLayer,
    angles,
    angular_loss,
    check_centres,
    class_centres,
    cosine_loss,
    hint_loss,
    hinton_loss,
    logit_loss,
    margin_temperature_loss,
    mined_triplets,
    relation_angle_loss,
    relation_distance_loss,
    squared_distances,
    triplet_loss,
    triplet_margins,
)
from models.recognition.margins import ARCFACE, margin_logits, margin_loss  # noqa: E402

TEACHER_LOGITS = torch.tensor([[4.0, 1, 0]], dtype=torch.float64)
LOGITS = torch.tensor([[2.0, 2, 0]], dtype=torch.float64)


def test_hinton() -> None:
    assert hinton_loss(LOGITS, TEACHER_LOGITS, 1).item() == pytest.approx(0.518606, abs=1e-6)
    assert hinton_loss(LOGITS, TEACHER_LOGITS, 4).item() == pytest.approx(0.890432, abs=1e-6)
    soft = (TEACHER_LOGITS / 4).softmax(1)[0]
    assert soft.tolist() == pytest.approx([0.543406, 0.256687, 0.199908], abs=1e-6)


def test_logit_matching_is_hintons_limit() -> None:
    assert logit_loss(LOGITS, TEACHER_LOGITS).item() == pytest.approx((4 + 1) / 2)
    centred = [values - values.mean() for values in (LOGITS, TEACHER_LOGITS)]
    assert hinton_loss(*centred, 1e4).item() == pytest.approx(logit_loss(*centred).item() / 3, rel=1e-3)  # 3 classes


def test_margin_with_temperature_is_a_mixture_on_the_margin_logits_of_both() -> None:
    mine, theirs = torch.tensor([[0.7, 0.2], [0.1, 0.4]]), torch.tensor([[0.9, 0.1], [0.0, 0.8]])
    labels = torch.tensor([0, 1])
    hard = margin_loss(mine, labels, ARCFACE, 8)
    soft = hinton_loss(margin_logits(mine, labels, ARCFACE, 8), margin_logits(theirs, labels, ARCFACE, 8), 4)
    mixed = margin_temperature_loss(mine, theirs, labels, ARCFACE, 8)
    assert mixed.item() == pytest.approx((0.05 * hard + 0.95 * soft).item())
    other = margin_temperature_loss(mine, theirs.flip(1), labels, ARCFACE, 8)
    assert abs(mixed.item() - other.item()) > 0.1  # it looks at the teacher


def test_hints() -> None:
    regressor = torch.nn.Conv2d(2, 1, 1, bias=False)
    torch.nn.init.ones_(regressor.weight)
    student, teacher = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1), torch.tensor([5.0]).view(1, 1, 1, 1)
    assert hint_loss(regressor(student), teacher).item() == pytest.approx(2.0)


def test_angles_between_student_and_teacher() -> None:
    first, second = torch.tensor([[3.0, 4.0]], dtype=torch.float64), torch.tensor([[4.0, 3.0]], dtype=torch.float64)
    assert cosine_loss(first, second).item() == pytest.approx(0.04)
    assert angular_loss(first, second).item() == pytest.approx(0.0016)
    assert squared_distances(first, second).item() == pytest.approx(0.08)
    assert angles(first, second).cos().item() == pytest.approx(0.96)


def test_triplets() -> None:
    margins = triplet_margins(torch.tensor([0.3, 0.4, 0.6]), torch.tensor([0.9, 0.5, 0.2]))
    assert margins.tolist() == pytest.approx([0.5, 0.25, 0.2])
    positive, negative = torch.tensor([0.5, 0.6, 0.4]), torch.tensor([0.8, 0.7, 1.0])
    assert triplet_loss(positive, negative, margins).item() == pytest.approx((0.2 + 0.15) / 3)


def test_a_teacher_who_knows_nothing_and_no_triplets_divide_by_no_zero() -> None:
    assert triplet_margins(torch.tensor([0.6]), torch.tensor([0.2])).tolist() == pytest.approx([0.2])
    assert triplet_loss(*[torch.zeros(0)] * 3).item() == 0


def test_negatives_are_mined_just_behind_the_positive() -> None:
    places = torch.tensor([0.0, 0.1, 0.2, 0.3, 1.0])  # two of person 0, then three others
    labels, random = torch.tensor([0, 0, 1, 2, 3]), torch.Generator().manual_seed(0)
    found = {tuple(mined_triplets((places[:, None] - places).abs(), labels, random)[0].tolist()) for _ in range(50)}
    assert found == {(0, 1, 2), (0, 1, 3)}
    alone = mined_triplets(torch.zeros(3, 3), torch.arange(3), random)
    assert alone.shape == (0, 3)


RELATIONS = {"distances": relation_distance_loss, "angles": relation_angle_loss}


@pytest.mark.parametrize("loss", RELATIONS.values(), ids=RELATIONS)
def test_relations_do_not_see_where_the_space_lies(loss: Callable[..., torch.Tensor]) -> None:
    teacher = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turned = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q
    assert loss(3 * teacher @ turned + 1, teacher).item() == pytest.approx(0, abs=1e-12)
    assert loss(teacher.flip(0), teacher).item() > 0.01


def test_a_right_angle_counts_as_one() -> None:
    corner = torch.tensor([[0.0, 0], [1, 0], [0, 1]], dtype=torch.float64)
    line = torch.tensor([[0.0, 0], [1, 0], [2, 0]], dtype=torch.float64)
    # Cosines at the three points: 0, cos 45, cos 45 against 1, -1, 1; each stands twice among the 27.
    half = 0.5**0.5
    huber = [0.5, half + 1 - 0.5, 0.5 * (1 - half) ** 2]
    assert relation_angle_loss(corner, line).item() == pytest.approx(2 * sum(huber) / 27)
    distances = [(3 / (2 + 2**0.5), 3 / 4), (3 / (2 + 2**0.5), 6 / 4), (3 * 2**0.5 / (2 + 2**0.5), 3 / 4)]
    expected = sum((mine - theirs) ** 2 / 2 for mine, theirs in distances) / 3
    assert relation_distance_loss(corner, line).item() == pytest.approx(expected)


LESSONS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "cosine": cosine_loss,
    "angular": angular_loss,
    "angles": lambda mine, theirs: angles(mine, theirs).sum(),
    "squared distances": lambda mine, theirs: squared_distances(mine, theirs).sum(),
    "distances": relation_distance_loss,
    "relation angles": relation_angle_loss,
}


@pytest.mark.parametrize("lesson", LESSONS.values(), ids=LESSONS)
def test_gradients_are_finite_where_vectors_fall_together(
    lesson: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    teacher = torch.tensor([[1.0, 0], [1, 0], [0, 1], [-1, 0]])
    student = torch.tensor([[1.0, 0], [1, 0], [1, 0], [1, 0]], requires_grad=True)
    lesson(student, teacher).backward()
    assert student.grad is not None and bool(student.grad.isfinite().all())


def people(count: int = 12, each: int = 5, dimension: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors of people who are unlike each other, and their labels."""
    random = torch.Generator().manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(count, dimension, generator=random))
    labels = torch.arange(count).repeat_interleave(each)
    return centres[labels] + 0.1 * torch.randn(count * each, dimension, generator=random), labels


def test_centres_are_means_of_unit_vectors() -> None:
    vectors, labels = torch.tensor([[2.0, 0], [0, 0.5], [0, 3]]), torch.tensor([0, 0, 1])
    centres = class_centres(vectors, labels, 2)
    torch.testing.assert_close(centres, torch.tensor([[0.5**0.5, 0.5**0.5], [0, 1]]))


def test_centres_in_another_order_are_refused() -> None:
    vectors, labels = people()
    centres = class_centres(vectors, labels, 12)
    check_centres(vectors, labels, centres)
    with pytest.raises(SetupError, match="the centres do not fit the labels"):
        check_centres(vectors, labels, centres.roll(1, 0))


def test_centres_of_people_who_are_all_alike_are_refused() -> None:
    vectors, labels = people()
    with pytest.raises(SetupError, match="to others"):
        check_centres(vectors + 1, labels, class_centres(vectors + 1, labels, 12))


@pytest.mark.parametrize("trainable", [False, True])
def test_a_frozen_layer_stays_bit_for_bit(trainable: bool) -> None:
    vectors, labels = people()
    layer = LastLayer(class_centres(vectors, labels, 12), trainable)
    student = torch.nn.Linear(64, 64)
    optimiser = torch.optim.SGD([*student.parameters(), *layer.parameters()], lr=0.1, momentum=0.9, weight_decay=0.1)
    before = digest(layer)
    for _ in range(5):
        optimiser.zero_grad()
        margin_loss(layer(student(vectors)), labels, ARCFACE).backward()
        optimiser.step()
    assert (digest(layer) == before) is not trainable


def digest(layer: LastLayer) -> str:
    return hashlib.sha256(layer.weight.detach().numpy().tobytes()).hexdigest()
