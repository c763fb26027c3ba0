"""What a student may be asked to have in common with its teacher: losses, and the teacher's last layer.

n samples, d dimensions, k classes; ^ marks vectors of length one. All losses are means over the batch. Margins that a
teacher sets are in `models.recognition.margins`. The published code of two of these methods does something else than
its text: "margin with T" trains on a label divided by T and never looks at the teacher, and the angular term lacks its
square. Here both are as the text has them; the angular term is also there without the square, as it was measured.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.errors import SetupError
from models.recognition.margins import EDGE, SCALE, Margin, cosines, margin_logits

TEMPERATURE = 4.0  # of Hinton's loss and of margin with T
TEACHER_SHARE = 0.95  # of margin with T: alpha
SMALLEST, SPAN = 0.2, 0.3  # margins of triplet distillation are between .2 and .5
BAND = 0.35  # a negative is mined no farther behind the positive
SHORTEST = 1e-12  # no mean distance is divided by less
TYPICAL = 0.4  # least mean cosine of a teacher's vectors to their own centres
STRANGE = 0.2  # largest mean cosine to others' centres, either way; SFace has .11 on 1,211 people of CelebA


def hinton_loss(logits: Tensor, teacher: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return T^2 KL(softmax(z_t / T) || softmax(z_s / T)) of logits (n, k).

    T^2 keeps the gradient's size when T changes (Hinton et al. 2015, section 2). The whole method adds cross-entropy:
    (1 - alpha) CE + alpha times this.
    """
    student = functional.log_softmax(logits / temperature, dim=1)
    target = functional.log_softmax(teacher / temperature, dim=1)
    return temperature**2 * functional.kl_div(student, target, reduction="batchmean", log_target=True)


def logit_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """Return 1/2 ||z_s - z_t||^2 of logits (n, k) (Ba and Caruana 2014)."""
    return (logits - teacher).square().sum(1).mean() / 2


def margin_temperature_loss(
    similarities: Tensor,
    teacher: Tensor,
    labels: Tensor,
    margin: Margin,
    scale: float = SCALE,
    temperature: float = TEMPERATURE,
    share: float = TEACHER_SHARE,
) -> Tensor:
    """Return (1 - alpha) CE + alpha T^2 KL on the margin logits of both nets (Nekhaev et al. 2020, margin-based).

    Args:
        similarities: (n, k) cosines of the student's vectors to its class centres.
        teacher: (n, k) of the teacher's vectors to its own.
        labels: (n,) rows of the classes.
        margin: that both targets get.
        scale: of both nets' logits.
        temperature: T.
        share: alpha, 0 to 1.
    """
    logits, wanted = (margin_logits(values, labels, margin, scale) for values in (similarities, teacher))
    hard = functional.cross_entropy(logits, labels)
    return (1 - share) * hard + share * hinton_loss(logits, wanted, temperature)


def hint_loss(regressed: Tensor, teacher: Tensor) -> Tensor:
    """Return 1/2 ||r(F_s) - F_t||^2 of maps (n, c, h, w) of one size (Romero et al. 2015, FitNets, equation 3).

    r, a 1x1 convolution, leads the student's channels to the teacher's.
    """
    return (regressed - teacher).square().flatten(1).sum(1).mean() / 2


def cosine_loss(vectors: Tensor, teacher: Tensor) -> Tensor:
    """Return 1 - cos(e_t, e_s) of vectors (n, d): half the squared distance of the unit vectors.

    The angular rival as its published code has it, weight 1 beside ArcFace; alone, the plain lesson without labels.
    """
    return (1 - functional.cosine_similarity(vectors, teacher)).mean()


def angular_loss(vectors: Tensor, teacher: Tensor) -> Tensor:
    """Return (1 - cos(e_t, e_s))^2 of vectors (n, d) (Duong et al. 2019, ShrinkTeaNet)."""
    return (1 - functional.cosine_similarity(vectors, teacher)).square().mean()


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """Return ||a^ - b^||^2 of each row of vectors (..., d), 0 to 4."""
    return 2 - 2 * functional.cosine_similarity(first, second, dim=-1)


def angles(first: Tensor, second: Tensor) -> Tensor:
    """Return arccos<a^, b^> of each row of vectors (..., d) in radians, with a finite derivative everywhere."""
    return torch.arccos(functional.cosine_similarity(first, second, dim=-1).clamp(EDGE - 1, 1 - EDGE))


def triplet_margins(positive: Tensor, negative: Tensor, smallest: float = SMALLEST, span: float = SPAN) -> Tensor:
    """Return the margins (n,) that a teacher's distances set: smallest + span relu(d_an - d_ap) / max of the batch.

    Feng et al. 2020, triplet distillation. Where the teacher keeps no negative farther off than its
    positive, every margin is the smallest; the formula would divide nothing by nothing.
    """
    gaps = (negative - positive).clamp(min=0)
    largest = torch.cat([gaps, gaps.new_full((1,), SHORTEST)]).max()
    return smallest + span * gaps / largest


def triplet_loss(positive: Tensor, negative: Tensor, margins: Tensor) -> Tensor:
    """Return max(0, d_ap - d_an + m) of a student's distances (n,); 0 for no triplets."""
    losses = (positive - negative + margins).clamp(min=0)
    return losses.sum() / max(len(losses), 1)


def mined_triplets(distances: Tensor, labels: Tensor, random: torch.Generator, band: float = BAND) -> Tensor:
    """Return rows (t, 3) of anchor, positive and negative, one for each pair of a person that has a fitting negative.

    Drawn among those behind the positive by less than `band` (Schroff et al. 2015, FaceNet, section 3.2).

    Args:
        distances: (n, n) of a batch.
        labels: (n,) people.
        random: of the draw.
        band: of the distance.
    """
    same = labels[:, None] == labels
    anchors, positives = torch.nonzero(same.triu(1), as_tuple=True)
    gaps = distances[anchors] - distances[anchors, positives][:, None]  # (pairs, n)
    fitting = ~same[anchors] & (gaps > 0) & (gaps < band)
    found = fitting.any(1)
    chances = fitting[found].float()
    negatives = torch.multinomial(chances, 1, generator=random)[:, 0] if len(chances) else anchors[:0]
    return torch.stack([anchors[found], positives[found], negatives], 1)


def relation_distance_loss(vectors: Tensor, teacher: Tensor) -> Tensor:
    """Return how far the pairwise distances of vectors (n, d), each by their mean, are from the teacher's (Huber).

    Park et al. 2019, relational knowledge distillation, section 3.2.1.
    """
    return functional.smooth_l1_loss(_relative_distances(vectors), _relative_distances(teacher))


def relation_angle_loss(vectors: Tensor, teacher: Tensor) -> Tensor:
    """Return how far the cosines of the angles at each vector between all others are from the teacher's (Huber).

    Park et al. 2019, relational knowledge distillation, section 3.2.2.
    """
    return functional.smooth_l1_loss(_corners(vectors), _corners(teacher))


class LastLayer(nn.Module):
    """Class centres: vectors (n, d) to cosines (n, k); the rows are used with length one and may have any."""

    def __init__(self, centres: Tensor, trainable: bool) -> None:
        """Begin with centres (k, d); frozen, they get no gradient and no weight decay."""
        super().__init__()
        self.weight = nn.Parameter(centres.clone(), requires_grad=trainable)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the cosine of each vector to each centre."""
        return cosines(vectors, self.weight)


def class_centres(vectors: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the centres (k, d), length one: means of the unit vectors of each class.

    What stands in for the teacher's last layer, which is not published, and gives a centre to people whom the teacher
    never saw.

    Args:
        vectors: (n, d) of the teacher.
        labels: (n,) 0 to k - 1.
        classes: k; each has one vector at least.
    """
    sums = vectors.new_zeros(classes, vectors.shape[1]).index_add(0, labels, functional.normalize(vectors))
    return functional.normalize(sums)


def check_centres(vectors: Tensor, labels: Tensor, centres: Tensor) -> None:
    """Refuse centres that do not belong to these labels: a copied layer in another order teaches the wrong people.

    Args:
        vectors: (n, d) of the teacher.
        labels: (n,) rows of the centres.
        centres: (k, d), k at least 2.

    Raises:
        SetupError: the vectors are on average not near their own centres, or not unlike the others'.
    """
    similarities = cosines(vectors, centres)
    own = similarities.gather(1, labels[:, None])
    typical = float(own.mean())
    strange = float((similarities.sum() - own.sum()) / (similarities.numel() - own.numel()))
    if typical < TYPICAL or abs(strange) > STRANGE:
        raise SetupError(
            f"the centres do not fit the labels: the teacher's vectors have a cosine of {typical:.2f} to their own "
            f"({TYPICAL} at least) and of {strange:.2f} to others ({STRANGE} at most): is the order of both the same?"
        )


def _relative_distances(vectors: Tensor) -> Tensor:
    """Return the distances of all pairs of vectors (n, d), divided by their mean."""
    distances = functional.pdist(vectors)
    return distances / distances.mean().clamp(min=SHORTEST)


def _corners(vectors: Tensor) -> Tensor:
    """Return the cosines (n, n, n) at each vector (n, d) between the directions to two others."""
    directions = functional.normalize(vectors[None] - vectors[:, None], dim=2)
    return directions @ directions.transpose(1, 2)
