"""Faces on two public-domain portraits: found, brought upright, aligned, and refused for the right reason."""

import cv2
import numpy as np
import pytest

from app.types import Array, Faces, Image, Quality, Reason
from app.vision.artefact import shipped
from app.vision.boxes import nms
from app.vision.embedder import Embedder
from app.vision.faces import (
    OVERLAP,
    TEMPLATE,
    FaceFinder,
    align,
    assess,
    decode,
    pose,
    similarity_transform,
)
from app.vision.picture import ArrayPicture
from app.vision.regions import head_regions, merge

COLLINS, HOPPER = "Eileen Collins", "Grace Hopper"
NOWHERE = np.zeros((0, 4), np.float32)


@pytest.fixture(scope="module")
def pictures(portrait_files: dict[str, bytes]) -> dict[str, Image]:
    return {
        name: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for name, data in portrait_files.items()
    }


@pytest.fixture(scope="module")
def finder(face_nets: tuple[FaceFinder, Embedder]) -> FaceFinder:
    return face_nets[0]


@pytest.fixture(scope="module")
def embedder(face_nets: tuple[FaceFinder, Embedder]) -> Embedder:
    return face_nets[1]


def resized(image: Image, scale: float) -> Image:
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def turned(image: Image, degrees: float) -> Image:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


def judged(finder: FaceFinder, image: Image) -> Quality:
    """Quality of the best face of a picture."""
    faces = finder.find(image)
    return judged_as(image, faces, float(faces.scores[0]), faces.landmarks[0])


def judged_as(image: Image, faces: Faces, score: float, landmarks: Array) -> Quality:
    crop = align(image, landmarks)
    return assess(image.shape[1], image.shape[0], faces.boxes[0], score, landmarks, crop)


@pytest.mark.parametrize("name", [COLLINS, HOPPER])
def test_decoding_is_that_of_opencv(pictures: dict[str, Image], name: str) -> None:
    image = cv2.resize(pictures[name], (256, 320), interpolation=cv2.INTER_AREA)
    artefact = shipped("face_finder")
    theirs = cv2.FaceDetectorYN.create(str(artefact.folder / "finder.onnx"), "", (256, 320), 0.6, OVERLAP)
    expected = theirs.detect(image)[1]

    net = artefact.open("finder.onnx")
    batch = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)
    faces = decode(dict(zip(net.outputs, net.run(batch), strict=True)), 256, 0.6)
    kept = nms(faces.boxes, faces.scores, OVERLAP)

    assert len(kept) == len(expected) == 1
    np.testing.assert_allclose(faces.landmarks[kept].reshape(1, 10), expected[:, 4:14], atol=0.01)
    np.testing.assert_allclose(faces.boxes[kept][:, :2], expected[:, :2], atol=0.01)
    np.testing.assert_allclose(faces.boxes[kept][:, 2:] - faces.boxes[kept][:, :2], expected[:, 2:4], atol=0.01)
    np.testing.assert_allclose(faces.scores[kept], expected[:, 14], atol=1e-4)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_a_face_is_found_at_any_size_in_pixels_of_the_picture(
    finder: FaceFinder, pictures: dict[str, Image], scale: float
) -> None:
    whole, other = finder.find(pictures[COLLINS]), finder.find(resized(pictures[COLLINS], scale))
    assert len(whole) == len(other) == 1
    eye_distance = np.linalg.norm(whole.landmarks[0, 1] - whole.landmarks[0, 0])
    np.testing.assert_allclose(other.landmarks / scale, whole.landmarks, atol=0.1 * eye_distance)
    np.testing.assert_allclose(other.boxes / scale, whole.boxes, atol=0.2 * eye_distance)


def test_the_points_lie_on_the_face(finder: FaceFinder, pictures: dict[str, Image]) -> None:
    left_eye, right_eye, nose, mouth_left, mouth_right = finder.find(pictures[COLLINS]).landmarks[0]
    np.testing.assert_allclose([left_eye, right_eye], [[205, 104], [247, 105]], atol=4)  # read off the picture
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_eye[1] < nose[1] < mouth_left[1]
    assert mouth_left[0] < mouth_right[0]


def test_a_picture_without_a_face_gives_none(finder: FaceFinder) -> None:
    faces = finder.find(np.full((200, 300, 3), 120, np.uint8))
    assert len(faces) == 0
    assert faces.landmarks.shape == (0, 5, 2)


def test_only_the_regions_are_searched(finder: FaceFinder, pictures: dict[str, Image]) -> None:
    canvas = np.full((700, 1000, 3), 128, np.uint8)
    canvas[100:612, 400:912] = pictures[COLLINS]
    picture = ArrayPicture(canvas)
    alone = finder.find(pictures[COLLINS])

    found = finder.find_in(picture, np.array([[500, 120, 760, 340], [560, 100, 800, 320]], np.float32))
    assert len(found) == 1, "the face lies in both regions"
    np.testing.assert_allclose(found.boxes[0] - [400, 100, 400, 100], alone.boxes[0], atol=8)
    np.testing.assert_allclose(found.landmarks[0] - [400, 100], alone.landmarks[0], atol=4)

    assert len(finder.find_in(picture, np.array([[0, 0, 380, 700]], np.float32))) == 0
    assert len(finder.find_in(picture, NOWHERE)) == 0
    assert len(finder.find_in(picture, np.array([[1200, 0, 1300, 90], [5, 5, 5, 9]], np.float32))) == 0


def test_head_regions_hold_the_head_of_bodies_near_and_far() -> None:
    boxes = np.array([[100, 50, 140, 170], [200, 100, 400, 270]], np.float32)
    regions = head_regions(boxes, 480, 270)
    np.testing.assert_allclose(regions[0], [94, 42.2, 146, 102], atol=0.01)  # standing: 1.3 widths deep
    np.testing.assert_allclose(regions[1], [170, 74.5, 430, 270], atol=0.01)  # cut at the chest: all of it
    assert head_regions(NOWHERE, 480, 270).shape == (0, 4)


def test_a_head_is_not_searched_as_coarsely_as_the_picture_around_it() -> None:
    head = [800.0, 200.0, 1000.0, 420.0]
    both = np.array([head, [0, 0, 1920, 1080]], np.float32)  # a lamp was switched on, so everything moves
    assert len(merge(both, 1920, 1080)) == 2
    assert len(merge(both[:1], 1920, 1080)) == 1
    small = np.array([[100, 60, 200, 160], [0, 0, 380, 300]], np.float32)  # nearly as fine: searched once
    assert merge(small, 640, 360).tolist() == [[0, 0, 380, 300]]


def test_a_face_is_found_in_a_large_picture_that_moves_everywhere(
    pictures: dict[str, Image], finder: FaceFinder
) -> None:
    face = cv2.resize(pictures[COLLINS], (150, 150), interpolation=cv2.INTER_AREA)
    hall = np.full((1080, 1920, 3), 110, np.uint8)
    hall[300:450, 900:1050] = face
    body = np.array([[880, 300, 1070, 800]], np.float32)
    everything = np.array([[0, 0, 1920, 1080]], np.float32)
    regions = np.concatenate([head_regions(body, 1920, 1080), everything])
    found = finder.find_in(ArrayPicture(hall), regions)
    assert len(found) == 1
    alone = finder.find(face)
    np.testing.assert_allclose(found.landmarks[0] - [900, 300], alone.landmarks[0], atol=3)


def test_regions_merge_where_that_saves_work() -> None:
    near = np.array([[10, 10, 60, 60], [20.5, 10, 70.2, 60], [300, 0, 350, 50]], np.float32)
    assert sorted(merge(near, 640, 360).tolist()) == [[10, 10, 71, 60], [300, 0, 350, 50]]
    corner = np.array([[0, 0, 100, 100], [90, 90, 190, 190]], np.float32)  # a common box would be 36,100 for 20,000
    assert len(merge(corner, 640, 360)) == 2
    assert merge(np.array([[-50, -50, 20.2, 20], [600, 300, 700, 400]], np.float32), 640, 360).tolist() == [
        [0, 0, 21, 20],
        [600, 300, 640, 360],
    ]


def test_the_template_is_its_own_alignment() -> None:
    image = np.random.default_rng(1).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    np.testing.assert_array_equal(align(image, TEMPLATE), image)


def test_similarity_transform_recovers_turn_scale_and_shift() -> None:
    angle, scale, shift = np.radians(33), 2.5, np.array([70.0, -12.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = similarity_transform(TEMPLATE, (TEMPLATE @ turn.T + shift).astype(np.float32))
    np.testing.assert_allclose(found, np.column_stack([turn, shift]), atol=1e-3)


def test_similarity_transform_never_mirrors() -> None:
    mirrored = TEMPLATE * np.array([-1, 1], np.float32)
    matrix = similarity_transform(TEMPLATE, mirrored)[:, :2]
    assert np.linalg.det(matrix) > 0
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(2) * np.linalg.det(matrix), atol=1e-5)


def test_what_lies_outside_of_the_picture_is_black(finder: FaceFinder, pictures: dict[str, Image]) -> None:
    landmarks = finder.find(pictures[COLLINS]).landmarks[0]
    left = int(landmarks[0, 0])
    crop = align(np.ascontiguousarray(pictures[COLLINS][:, left:]), landmarks - [left, 0])
    assert (crop[:, :30] == 0).all()
    assert (crop[40:80, 60:] > 0).mean() > 0.99


@pytest.mark.parametrize("degrees", [-35, -20, 20, 35])
def test_a_tilted_head_is_brought_upright(
    finder: FaceFinder, embedder: Embedder, pictures: dict[str, Image], degrees: float
) -> None:
    for image in pictures.values():
        tilted = turned(image, degrees)
        crops = [align(one, finder.find(one).landmarks[0]) for one in (image, tilted)]
        upright, straightened = embedder.embed(crops)
        assert upright @ straightened > 0.75  # at 35 degrees the first look alone gives .24 to .73


@pytest.mark.parametrize("name", [COLLINS, HOPPER])
def test_a_portrait_is_usable(finder: FaceFinder, pictures: dict[str, Image], name: str) -> None:
    quality = judged(finder, pictures[name])
    assert quality.usable
    assert 0.7 < quality.score <= 1
    assert abs(quality.yaw) < 0.2


def degraded(image: Image, fault: Reason) -> Image:
    """The portrait with one thing wrong."""
    match fault:
        case Reason.FACE_TOO_SMALL:
            return resized(image, 0.25)
        case Reason.BLURRED:
            return cv2.GaussianBlur(image, (0, 0), 5)
        case Reason.TOO_DARK:
            return (image * 0.08).astype(np.uint8)
        case Reason.TOO_BRIGHT:
            bright = np.clip((image / 255) ** 2.2 * 4, 0, 1)  # two stops
            return (bright ** (1 / 2.2) * 255).astype(np.uint8)
        case _:
            return np.ascontiguousarray(image[:, 212:])  # the eye on the left is just inside


@pytest.mark.parametrize(
    "fault", [Reason.FACE_TOO_SMALL, Reason.BLURRED, Reason.TOO_DARK, Reason.TOO_BRIGHT, Reason.FRAME_EDGE]
)
def test_a_degraded_portrait_is_refused_for_its_fault(
    finder: FaceFinder, pictures: dict[str, Image], fault: Reason
) -> None:
    image = pictures[COLLINS]
    quality = judged(finder, degraded(image, fault))
    assert fault in quality.reasons
    assert not quality.usable
    if fault not in (Reason.FRAME_EDGE, Reason.TOO_DARK, Reason.TOO_BRIGHT):
        assert quality.score < judged(finder, image).score


def test_a_doubtful_find_is_refused(finder: FaceFinder, pictures: dict[str, Image]) -> None:
    faces = finder.find(pictures[COLLINS])
    quality = judged_as(pictures[COLLINS], faces, 0.75, faces.landmarks[0])
    assert quality.reasons == (Reason.LOW_DETECTION_SCORE,)


def projected(yaw: float, pitch: float) -> Array:
    """Five points (5, 2) of a head turned by degrees: to the picture's left, and down."""
    head = np.array([[-31, 0, 0], [31, 0, 0], [0, 35, 25], [-26, 72, 5], [26, 72, 5]], np.float64)  # mm: x, y, z
    y, p = np.radians([yaw, pitch])
    side = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    nod = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    return np.asarray((head @ (nod @ side).T)[:, :2] + 200, np.float32)


@pytest.mark.parametrize(("yaw", "pitch", "refused"), [(0, 0, False), (25, 0, False), (-25, 0, False), (0, 20, False)])
def test_moderate_poses_pass(
    finder: FaceFinder, pictures: dict[str, Image], yaw: float, pitch: float, refused: bool
) -> None:
    quality = judged_as(pictures[COLLINS], finder.find(pictures[COLLINS]), 0.95, projected(yaw, pitch))
    assert (Reason.EXTREME_POSE in quality.reasons) is refused


@pytest.mark.parametrize(("yaw", "pitch"), [(50, 0), (-50, 0), (85, 0), (0, 45), (0, -40)])
def test_extreme_poses_are_refused(finder: FaceFinder, pictures: dict[str, Image], yaw: float, pitch: float) -> None:
    quality = judged_as(pictures[COLLINS], finder.find(pictures[COLLINS]), 0.95, projected(yaw, pitch))
    assert Reason.EXTREME_POSE in quality.reasons


def test_yaw_follows_the_nose_and_ignores_a_tilt() -> None:
    angle = np.radians(40)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    for degrees in (-30, 0, 30):
        points = projected(degrees, 0)
        yaw, pitch = pose(points)
        assert yaw == pytest.approx(-25 / 31 * np.tan(np.radians(degrees)), abs=1e-3)
        assert pose((points @ turn.T).astype(np.float32)) == pytest.approx((yaw, pitch), abs=1e-3)
    assert pose(projected(89, 0))[0] == -1


def test_the_picture_edge_does_not_make_a_blurred_face_sharp(finder: FaceFinder, pictures: dict[str, Image]) -> None:
    image = cv2.GaussianBlur(pictures[COLLINS], (0, 0), 5)
    faces = finder.find(image)
    left = int(faces.landmarks[0, 0, 0] - 10)
    cut = np.ascontiguousarray(image[:, left:])
    landmarks = faces.landmarks[0] - np.array([left, 0], np.float32)
    quality = assess(cut.shape[1], cut.shape[0], faces.boxes[0] - left, 0.9, landmarks, align(cut, landmarks))
    assert Reason.BLURRED in quality.reasons


def test_rank_falls_with_size_and_sharpness(finder: FaceFinder, pictures: dict[str, Image]) -> None:
    image = pictures[HOPPER]
    sizes = [judged(finder, resized(image, scale)).score for scale in (1.0, 0.5, 0.3, 0.2)]
    assert sizes == sorted(sizes, reverse=True)
    blurs = [judged(finder, cv2.GaussianBlur(image, (0, 0), sigma)).score for sigma in (1, 3, 6, 9)]
    assert blurs == sorted(blurs, reverse=True)
