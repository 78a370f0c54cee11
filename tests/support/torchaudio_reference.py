"""Log-mel as torchaudio computes it, which the front ends must equal."""

import numpy as np
import torch
from numpy.typing import NDArray
from torchaudio.transforms import MelSpectrogram

from monitor.spec import ModelSpec


def torchaudio_log_mel(
    spec: ModelSpec, samples: NDArray[np.float32], *, double: bool = False
) -> NDArray[np.floating]:
    """Compute log-mel without centring, in single or double precision."""
    mel = MelSpectrogram(
        spec.sample_rate,
        spec.n_fft,
        hop_length=spec.hop_length,
        n_mels=spec.n_mels,
        f_min=spec.f_min,
        f_max=spec.f_max,
        center=False,
        mel_scale="slaney",
    )
    wave = torch.from_numpy(samples)
    power = mel.double()(wave.double()) if double else mel(wave)
    return np.asarray(10 * torch.log10(power.clamp(min=1e-10)).numpy())
