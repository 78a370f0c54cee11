"""The windows in which a clip is tested: without augmentation or a random draw."""

import numpy as np
from numpy.typing import NDArray

from monitor.spec import ModelSpec
from training.mixing import synthetic

Array = NDArray[np.float32]
_FLOOR_DB = -50.0


def evaluation_windows(samples: Array, spec: ModelSpec) -> Array:
    """Cut a clip into windows, without a random draw.

    A short clip lies in the middle of a window over fixed noise, 50 dB below it: no
    microphone delivers digital silence.  A long one gives a window every half window,
    the last one flush with its end.

    Args:
        samples: (channels, n).
        spec: Of the model.

    Returns:
        (windows, channels, window_samples).
    """
    size = spec.window_samples
    length = samples.shape[1]
    if length <= size:
        noise = synthetic.noise_floor(np.random.default_rng(0), size, spec.sample_rate)[
            None
        ]
        level = synthetic.loudness(samples) / synthetic.LEVEL
        window = noise * np.float32(level * synthetic.decibels(_FLOOR_DB))
        window = np.repeat(window, samples.shape[0], axis=0)
        start = (size - length) // 2
        window[:, start : start + length] += samples
        return window[None]
    starts = [*range(0, length - size, size // 2), length - size]
    return np.stack([samples[:, start : start + size] for start in starts])
