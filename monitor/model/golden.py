"""The golden vector: what a model made of one fixed sound where it was saved.

Computed again where it is loaded.  Weights can be right and the numbers wrong all the
same: another torchaudio with another mel scale, a changed window, a preset rebuilt.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monitor.model.frontend import LogMel
from monitor.model.networks.base import Network, to_scores
from monitor.spec import ModelSpec

TOLERANCES = {"log_mel": 1e-2, "scores": 1e-3, "activity": 1e-3}
"""Largest difference that is taken for rounding: dB, scores, scores.

Measured against the same sums in double precision, float32 is off by 2e-4 dB and 6e-6
in a score, and of that order is what separates two processors or matrix libraries.  A
small change of meaning, a Hann window that is not periodic, is worth 0.3 dB.
"""

_CHIRP_SECONDS = 1.0


class Golden(NamedTuple):
    """Features and scores of the golden signal, float32."""

    log_mel: Tensor
    """(channels, n_mels, window_frames), dB."""

    scores: Tensor
    """(labels,)."""

    activity: Tensor
    """(labels, columns), scores."""


def golden_signal(spec: ModelSpec) -> NDArray[np.float32]:
    """One window of sines, chirps, noise and silence, the same on every machine.

    The noise keeps every band far above the rounding of the Fourier transform, and is
    louder in every other quarter, so that the scores of the columns differ.  The last
    eighth is silence, which shows the floor.

    Returns:
        Shape (channels, window_samples).
    """
    count = spec.window_samples
    time = np.arange(count) / spec.sample_rate
    nyquist = spec.sample_rate / 2
    loud = np.where(np.arange(count) * 4 // count % 2 == 1, 1.0, 0.1)
    chirp_time = time % _CHIRP_SECONDS
    channels = []
    for channel in range(spec.channels):
        sine = 0.1 * np.sin(2 * np.pi * nyquist / 50 * (channel + 1) * time)
        rise = nyquist * (1 - 0.3 * channel) / _CHIRP_SECONDS
        chirp = 0.1 * np.sin(np.pi * rise * chirp_time**2)
        noise = 0.1 * loud * _integer_noise(count, seed=2 * channel + 1)
        channels.append(sine + chirp + noise)
    signal = np.stack(channels).astype(np.float32)
    signal[:, count - count // 8 :] = 0
    return signal


def golden_vector(network: Network, spec: ModelSpec, temperatures: Tensor) -> Golden:
    """Compute the golden vector of a model, in float32 on the CPU."""
    here = deepcopy(network).float().cpu().eval()
    with torch.inference_mode():
        log_mel = LogMel(spec)(torch.from_numpy(golden_signal(spec)))
        scores, activity = to_scores(here(log_mel[None]), temperatures)
    return Golden(log_mel, scores[0], activity[0])


def difference(computed: Golden, stored: Mapping[str, Tensor]) -> str | None:
    """Name what differs by more than rounding, or None."""
    for name, tolerance in TOLERANCES.items():
        here, there = getattr(computed, name), stored[name]
        if here.shape != there.shape:
            return f"{name} has shape {tuple(here.shape)}, not {tuple(there.shape)}"
        worst = float((here - there).abs().max())
        if not worst <= tolerance:  # also when it is not a number
            return f"{name} differs by up to {worst:.3g}, more than {tolerance:g}"
    return None


def _integer_noise(count: int, seed: int) -> NDArray[np.float64]:
    """Uniform noise in [-1, 1) of integers: a multiplicative generator modulo 2 ** 32.

    The multiplier is from L'Ecuyer, "Tables of linear congruential generators of
    different sizes and good lattice structure", 1999.
    """
    multipliers = np.full(count, 1_597_334_677, np.uint32)
    multipliers[0] = seed  # odd
    states = np.cumprod(multipliers, dtype=np.uint32)  # wraps around, exactly
    return (states >> 8).astype(np.float64) / 2**23 - 1
