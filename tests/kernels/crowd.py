"""A PSF, a frame, and stars on it, for the tests of the photometry kernels."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from roman_assets.kernels.photometry import JointFit, PaddedFrame, SplinePsf, Stars, joint_fit, render

OVERSAMPLE = 4
HALVES = (3, 7, 11)


def bell(sigma: float = 0.7, half_px: int = 14, oversample: int = OVERSAMPLE) -> np.ndarray:
    """Coefficients of a lopsided bell with wings, of unit flux."""
    axis = np.arange(-half_px * oversample, half_px * oversample + 1) / oversample
    x, y = np.meshgrid(axis, axis)
    core = np.exp(-0.5 * ((x - 0.05) ** 2 / sigma**2 + (y + 0.1) ** 2 / (1.2 * sigma) ** 2))
    values = core + 0.02 / (1 + (x**2 + y**2) / 4) ** 1.5
    coefficients = ndimage.spline_filter(values, order=3, mode="mirror")
    return coefficients / coefficients.sum() * oversample**2


PSF = SplinePsf(bell(), OVERSAMPLE)
FRAME = PaddedFrame(36, 44)


def random_stars(rng: np.random.Generator, n: int, frame: PaddedFrame = FRAME, edge: float = 3.0) -> Stars:
    return Stars.of(
        rng.uniform(-edge, frame.nx - 1 + edge, n), rng.uniform(-edge, frame.ny - 1 + edge, n), rng.choice(HALVES, n)
    )


class Problem:
    """A noisy scene of stars in one or several images, its weights and a dense solution."""

    def __init__(
        self, rng: np.random.Generator, n: int, *, frames: int = 1, n_sky: int = 3, frame: PaddedFrame = FRAME
    ) -> None:
        self.frame, self.n = frame, n
        first = random_stars(rng, n, frame, edge=1.0)
        shifts = rng.uniform(-0.5, 0.5, (frames, 2))
        self.stars = [Stars.of(first.x + dx, first.y + dy, first.half) for dx, dy in shifts]
        self.truth = rng.exponential(300, n) + 20
        y, x = np.mgrid[0 : frame.ny, 0 : frame.nx]
        u, v = 2 * x / frame.nx - 1, 2 * y / frame.ny - 1
        terms = [np.ones_like(u), u, v, u * u, u * v, v * v, u**3, v**3][:n_sky]
        self.basis = np.array([frame.padded(t) for t in terms], dtype=np.float32).reshape(-1, *frame.shape)
        self.weight = np.stack(
            [frame.padded(rng.uniform(0.2, 1.5, u.shape) * (rng.random(u.shape) > 0.02)) for _ in range(frames)]
        )
        scene = np.stack([render(PSF, frame, s, self.truth) for s in self.stars])
        noise = rng.normal(size=scene.shape) / np.sqrt(np.maximum(self.weight, 1e-3))
        self.data = (scene + noise + (2.5 if n_sky else 0)).astype(np.float32)

    def fit(self, **changes: np.ndarray) -> JointFit:
        given = {"data": self.data, "weight": self.weight, **changes}
        start = given.pop("start", np.zeros(self.n))
        return joint_fit(
            PSF,
            self.frame,
            self.stars,
            given["data"],
            given["weight"],
            self.basis,
            start,
            tolerance=1e-7,
            max_iterations=5000,
        )

    def dense(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Fluxes, sky (frames, terms) and the covariance of the fluxes, by dense least squares."""
        frames, k = len(self.stars), len(self.basis)
        pixels = self.frame.shape[0] * self.frame.shape[1]
        design = np.zeros((frames * pixels, self.n + frames * k))
        for e, stars in enumerate(self.stars):
            rows = slice(e * pixels, (e + 1) * pixels)
            for s in range(self.n):
                one = Stars.of(stars.x[s : s + 1], stars.y[s : s + 1], stars.half[s])
                design[rows, s] = render(PSF, self.frame, one, [1.0]).ravel()
            for t in range(k):
                design[rows, self.n + e * k + t] = self.basis[t].ravel()
        root = np.sqrt(self.weight.astype(float)).ravel()
        solution, *_ = np.linalg.lstsq(design * root[:, None], self.data.ravel() * root, rcond=None)
        normal = (design * root[:, None] ** 2).T @ design
        covariance = np.linalg.inv(normal)
        return solution[: self.n], solution[self.n :].reshape(frames, k), covariance[: self.n, : self.n]
