"""The golden vector: features and scores of one fixed signal, stored with the model.

An engine recomputes it when it starts, because a correct file does not guarantee
correct scores: another library may use another mel scale, and the preset may have
changed.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitor.model.background import Background
from monitor.model.engines import Engine, WindowHistory, WindowPlace
from monitor.model.frontend import LogMel
from monitor.spec import ModelSpec

TOLERANCES = {
    "log_mel": 1e-2,
    "scores": 1e-3,
    "activity": 1e-3,
    "background": 1e-2,
    "changed_scores": 1e-3,
}
"""Largest difference that counts as rounding: dB, scores, features.

Against double precision, float32 is off by 2e-4 dB and 6e-6 in a score; two processors
or matrix libraries differ by about as much.  A small change of meaning, such as a Hann
window that is not periodic, changes 0.3 dB.
"""

_CHIRP_SECONDS = 1.0


class Golden(NamedTuple):
    """Features and scores of the golden signal, float32."""

    log_mel: NDArray[np.float32]
    """(channels, n_mels, window_frames), dB."""

    scores: NDArray[np.float32]
    """(labels,)."""

    activity: NDArray[np.float32]
    """(labels, columns), scores."""

    background: NDArray[np.float32] | None = None
    """(features,), embedding of the signal with its bands in reverse; None: the model
    takes no background."""

    changed_scores: NDArray[np.float32] | None = None
    """(labels,), scores of the signal against that background."""


def golden_signal(spec: ModelSpec) -> NDArray[np.float32]:
    """Synthesise one window of sines, chirps, noise and silence, equal on any machine.

    The noise keeps every band far above the rounding of the Fourier transform, and is
    louder in every other quarter, so that the scores of the columns differ.  The last
    eighth is silent, which shows the floor.

    Returns:
        Shape (channels, window_samples).
    """
    count = spec.window_samples
    nyquist = spec.sample_rate / 2
    period = round(_CHIRP_SECONDS * spec.sample_rate)
    signal = np.zeros((spec.channels, count), np.float32)
    sounding = count - count // 8
    for channel, samples in enumerate(signal):
        rise = nyquist * (1 - 0.3 * channel) / _CHIRP_SECONDS
        chirp_time = np.arange(period) / spec.sample_rate
        chirp = 0.1 * np.sin(np.pi * rise * chirp_time**2)
        noise = _integer_noise(count, seed=2 * channel + 1)
        # Period by period: all at once, in double precision, would take 15 MiB.
        for start in range(0, sounding, period):
            index = np.arange(start, min(start + period, sounding))
            time = index / spec.sample_rate
            sine = 0.1 * np.sin(2 * np.pi * nyquist / 50 * (channel + 1) * time)
            loud = np.where(index * 4 // count % 2 == 1, 1.0, 0.1)
            hiss = 0.1 * loud * (noise[index] / 2**23 - 1)
            samples[index] = sine + chirp[: len(index)] + hiss
    return signal


def golden_vector(engine: Engine, spec: ModelSpec) -> Golden:
    """Compute the golden vector with an engine."""
    log_mel = LogMel(spec)(golden_signal(spec))
    computed = engine.run(log_mel[None])
    golden = Golden(log_mel, computed.scores[0], computed.activity[0])
    if spec.background is None:
        return golden
    reverse = np.ascontiguousarray(log_mel[None, :, ::-1])
    (background,), _ = engine.views(reverse)
    history = WindowHistory()
    history.background = before = Background(spec)
    before.add(0, background, np.zeros(1, np.float32))
    place = WindowPlace(history, before.newest_frames)
    changed = engine.run(log_mel[None], [place])
    return golden._replace(background=background, changed_scores=changed.scores[0])


def difference(computed: Golden, stored: Golden) -> str | None:
    """Describe the first difference beyond rounding, or return None."""
    for name, tolerance in TOLERANCES.items():
        here, there = getattr(computed, name), getattr(stored, name)
        if here is None:
            continue
        if here.shape != there.shape:
            return f"{name} has shape {here.shape}, not {there.shape}"
        worst = float(np.abs(here - there).max())
        if not worst <= tolerance:  # also when it is not a number
            return f"{name} differs by up to {worst:.3g}, more than {tolerance:g}"
    return None


def _integer_noise(count: int, seed: int) -> NDArray[np.uint32]:
    """Uniform noise of 24 bits: a multiplicative generator modulo 2 ** 32.

    The multiplier is from L'Ecuyer, "Tables of linear congruential generators of
    different sizes and good lattice structure", 1999.
    """
    multipliers = np.full(count, 1_597_334_677, np.uint32)
    multipliers[0] = seed  # odd
    states = np.cumprod(multipliers, dtype=np.uint32)  # wraps around, exactly
    return states >> np.uint32(8)
