"""Noise of a sensor, as at night: how much there is, and what is shown to a net that never learnt it."""

from typing import cast

import cv2
import numpy as np

from app.types import Image

NOISY = 3.0  # grey levels; from there on smoothing finds more persons, below it changes nothing
EVERY = 4  # pixels; a sixteenth of them tells the noise
# The difference of two Laplacians: blind to even surfaces, slopes and edges along its axes (Immerkaer 1996). Of noise
# with deviation s it makes numbers with deviation 6 s.
RESPONSE = np.array([1, -2, 1], np.float32)  # along rows and columns
GAIN = 6.0
MEDIAN = 1.4826  # standard deviations in a median absolute deviation of normal noise


def noise_level(image: Image) -> float:
    """Return the standard deviation of the noise in the green channel of a BGR picture (H, W, 3), in grey levels.

    The median over the picture, where Immerkaer takes the mean: texture is left out unless it covers half of it.
    """
    response = cv2.sepFilter2D(cv2.extractChannel(image, 1), cv2.CV_16S, RESPONSE, RESPONSE)
    response = response[1:-1:EVERY, 1:-1:EVERY]
    return MEDIAN / GAIN * float(np.median(np.abs(response)))


def denoised(image: Image) -> Image:
    """Return a BGR picture (H, W, 3) smoothed by a 3x3 Gaussian if it is noisy, else the picture itself."""
    if noise_level(image) < NOISY:
        return image
    return cast(Image, cv2.GaussianBlur(image, (3, 3), 0))
