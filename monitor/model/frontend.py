"""From samples to log-mel: one front end for training and for monitoring."""

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from monitor.spec import ModelSpec


class LogMel(nn.Module):
    """Log-mel of whole signals, in dB re a full-scale square, on an absolute grid.

    Neither the loudest bin nor any other content of the signal moves the reference
    or the floor, so that a frame does not depend on what surrounds it.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.mel = MelSpectrogram(
            sample_rate=spec.sample_rate,
            n_fft=spec.n_fft,
            hop_length=spec.hop_length,
            n_mels=spec.n_mels,
            f_min=spec.f_min,
            f_max=spec.f_max,
            # Padding would make a frame depend on where its window starts; without
            # it, overlapping windows share their frames bit for bit.
            center=False,
            mel_scale="slaney",  # linear below 1 kHz: no band between two FFT bins
        )

    def forward(self, samples: Tensor) -> Tensor:
        """Compute every whole frame of `samples`.

        Args:
            samples: float32, shape (..., n), nominally in [-1, 1].

        Returns:
            float32, shape (..., n_mels, frames_in(n)), dB, at least `floor_db`.
        """
        power = self.mel(samples)  # (..., n_mels, frames)
        floor = 10 ** (self.spec.floor_db / 10)
        return 10 * torch.log10(torch.clamp(power, min=floor))


class IncrementalLogMel:
    """Log-mel of a stream, computed once for each frame.

    Equal to `LogMel` of everything pushed so far, whatever the sizes of the blocks.
    Not thread-safe.
    """

    def __init__(self, log_mel: LogMel, channels: int) -> None:
        self._log_mel = log_mel
        self._channels = channels
        self._tail = torch.empty(channels, 0)

    def push(self, samples: Tensor) -> Tensor:
        """Take the samples that follow; return the frames that they complete.

        Args:
            samples: float32, shape (channels, n), any n.

        Returns:
            float32, shape (channels, n_mels, frames), dB; frames may be 0.
        """
        spec = self._log_mel.spec
        joined = torch.cat([self._tail, samples], dim=-1)
        frames = spec.frames_in(joined.shape[-1])
        self._tail = joined[:, frames * spec.hop_length :].clone()
        if frames == 0:
            return torch.empty(self._channels, spec.n_mels, 0)
        return self._log_mel(joined[:, : spec.frame_span(frames)])

    def restart(self) -> None:
        """Forget the samples so far: the next ones follow a gap."""
        self._tail = torch.empty(self._channels, 0)
