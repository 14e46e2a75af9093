"""What the sample data are made of: a wavelet, and reflections without order."""

import math

import cv2
import numpy as np

Rng = np.random.Generator


def ricker(distance: np.ndarray, wavelength: float) -> np.ndarray:
    """Compute the Ricker wavelet, 1 at `distance` 0; distance and dominant wavelength in px."""
    a = (math.pi * distance / wavelength) ** 2
    return (1 - 2 * a) * np.exp(-a)


def texture(rng: Rng, side: int, wavelength: float, length: float, angle: float) -> np.ndarray:
    """Incoherent reflections (side, side), std 1: noise through a tilted wavelet `length` px long."""
    radius = math.ceil(max(wavelength, length))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    kernel = ricker(across, wavelength) * np.exp(-2 * (along / length) ** 2)
    noise = cv2.filter2D(rng.standard_normal((side, side), dtype=np.float32), -1, kernel)
    return noise / noise.std()
