import numpy as np
import pytest

from app.types import Image
from app.vision.denoise import NOISY, denoised, noise_level


def scene() -> Image:
    """Surfaces, slopes, edges and a striped quarter."""
    x, y = np.meshgrid(np.linspace(60, 160, 300), np.linspace(0, 40, 300))
    image = np.dstack([x + y] * 3).astype(np.uint8)
    image[40:200, 100:160] = (30, 40, 60)
    image[150:, 150::2] = 120
    return image


def with_noise(image: Image, deviation: float) -> Image:
    noise = np.random.default_rng(0).normal(0, deviation, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def test_a_clean_picture_stays_what_it_is() -> None:
    image = scene()
    assert noise_level(image) < NOISY / 3
    assert denoised(image) is image


@pytest.mark.parametrize("deviation", [4.0, 8.0, 16.0])
def test_the_level_is_the_deviation_of_the_noise(deviation: float) -> None:
    assert noise_level(with_noise(scene(), deviation)) == pytest.approx(deviation, rel=0.25)


def test_a_noisy_picture_comes_nearer_to_the_clean_one() -> None:
    clean, noisy = scene(), with_noise(scene(), 12.0)
    even = np.s_[:130]  # without the stripes, which smoothing takes for noise
    before, after = (np.abs(image[even].astype(int) - clean[even]).mean() for image in (noisy, denoised(noisy)))
    assert after < before * 0.6
