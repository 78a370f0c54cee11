"""The front end: from samples to log-mel, for training and for monitoring."""

import warnings

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from monitor.errors import UsageError
from monitor.spec import ModelSpec


class LogMel(nn.Module):
    """Log-mel of whole signals, in dB re a full-scale square, on an absolute grid.

    Reference and floor are fixed, so a frame does not depend on the frames around it.

    Raises:
        UsageError: A mel band of the spec holds no FFT bin, or the spec has no band.
    """

    window: Tensor
    """(n_fft,), periodic Hann."""

    bank: Tensor
    """(n_mels, bins), weights of the FFT bins within the bands."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        mel = _torchaudio_mel(spec)
        bank = mel.mel_scale.fb  # (n_fft // 2 + 1, n_mels)
        used = bank.any(dim=1).nonzero()
        # Half of the bins lie above f_max; without them the product is half the work.
        self.bins = slice(int(used[0]), int(used[-1]) + 1)
        self.register_buffer("window", mel.spectrogram.window, persistent=False)
        self.register_buffer("bank", bank[self.bins].T.contiguous(), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Compute every whole frame of `samples`.

        Equals torchaudio's MelSpectrogram without centring, in half of its time:
        torchaudio takes the root of each power, squares it, and weighs empty bins.

        Args:
            samples: float32, shape (..., n), nominally in [-1, 1].

        Returns:
            float32, shape (..., n_mels, frames_in(n)), dB, at least `floor_db`.
        """
        spec = self.spec
        if spec.frames_in(samples.shape[-1]) == 0:
            return samples.new_empty(*samples.shape[:-1], spec.n_mels, 0)
        frames = samples.unfold(-1, spec.n_fft, spec.hop_length)  # (..., frames, n_fft)
        bins = torch.fft.rfft(frames * self.window)[..., self.bins]
        power = bins.real * bins.real + bins.imag * bins.imag  # (..., frames, bins)
        mel = self.bank @ _padded(power).transpose(-1, -2)  # (..., n_mels, padded)
        floor = 10 ** (spec.floor_db / 10)
        log_mel = 10 * torch.log10(torch.clamp(mel, min=floor))
        return log_mel[..., : power.shape[-2]]


def _padded(power: Tensor) -> Tensor:
    """Append empty frames up to a multiple of 16: (..., frames, bins).

    Matrix libraries sum a product of few columns in another order.  With the padding a
    frame is the same to the last bit, however many are computed with it.
    """
    return nn.functional.pad(power, (0, 0, 0, -power.shape[-2] % 16))


def _torchaudio_mel(spec: ModelSpec) -> MelSpectrogram:
    """Torchaudio's transform for `spec`, the source of Hann window and mel bands."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # empty bands: an error below
        mel = MelSpectrogram(
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
    empty = int((~mel.mel_scale.fb.any(dim=0)).sum())
    if empty:
        raise UsageError(
            f"n_mels: {empty} of the {spec.n_mels} bands from {spec.f_min:g} to "
            f"{spec.f_max:g} Hz hold no FFT bin; take fewer bands or an n_fft above "
            f"{spec.n_fft}"
        )
    return mel


class IncrementalLogMel:
    """Log-mel of a stream on its absolute frame grid; each frame is computed once.

    Equal to the last bit to `LogMel` of everything pushed so far, for blocks of any
    size.  Not thread-safe.

    Args:
        log_mel: Computes the frames.
        channels: Channels of the stream, 1 or 2.
        start: Absolute index of the first sample that will be pushed.  Frames begin at
            the next multiple of the hop length; the samples before it are skipped.
    """

    next_frame: int
    """Absolute index of the first frame that the next push can return."""

    def __init__(self, log_mel: LogMel, channels: int, start: int = 0) -> None:
        self._log_mel = log_mel
        hop_length = log_mel.spec.hop_length
        self.next_frame = -(-start // hop_length)
        self._skip = self.next_frame * hop_length - start
        self._tail = torch.empty(channels, 0)

    @torch.inference_mode()
    def push(self, samples: Tensor) -> Tensor:
        """Take the samples that follow; return the frames that they complete.

        The first of these has the index that `next_frame` had before the call.

        Args:
            samples: float32, shape (channels, n), any n.

        Returns:
            float32, shape (channels, n_mels, frames), dB; frames may be 0.
        """
        spec = self._log_mel.spec
        skipped = min(self._skip, samples.shape[-1])
        self._skip -= skipped
        joined = torch.cat([self._tail, samples[:, skipped:]], dim=-1)
        frames = spec.frames_in(joined.shape[-1])
        taken = frames * spec.hop_length
        self._skip += max(0, taken - joined.shape[-1])  # only if frames do not touch
        self._tail = joined[:, taken:].clone()
        self.next_frame += frames
        log_mel: Tensor = self._log_mel(joined)
        return log_mel
