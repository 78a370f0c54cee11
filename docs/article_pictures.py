"""Draw the pictures of docs/article.md: `python docs/article_pictures.py`.

All sounds are made from random numbers; no recording is used.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import torch
from matplotlib.figure import Figure
from PIL import Image

from training import (
    ModelSpec,
    SoundDataset,
    assign_folds,
    fixed_length,
    load_audio,
    log_mel_of,
    make_loader,
    mask,
    read_manifest,
    resample,
    time_shift,
    to_channels,
)
from training.config import FeatureSettings
from training.mixtures import synthetic
from training.report import pictures

FOLDER = Path(__file__).with_name("article")
SPEC = ModelSpec()
RATE = 22_050
LABELS = ("beeps", "clatter", "hum", "music", "speech", "wind")


def save(figure: Figure, name: str, dpi: int = 75, colours: int = 64) -> None:
    path = FOLDER / f"{name}.png"
    figure.savefig(path, dpi=dpi)
    Image.open(path).convert("RGB").quantize(colours).save(path, optimize=True)


def sound(label: str, number: int, seconds: float = 1.5) -> np.ndarray:
    make = getattr(synthetic, label)
    r = np.random.default_rng([LABELS.index(label), number])
    return make(r, int(seconds * RATE), RATE)[None]


def recordings(folder: Path, count: int = 10) -> Path:
    """Write a folder for each label."""
    for label in LABELS:
        (folder / label).mkdir(parents=True)
        for number in range(count - LABELS.index(label)):
            wave = sound(label, number)
            soundfile.write(folder / label / f"{label}{number}.wav", wave.T, RATE)
    return folder


def waves(rows: list[tuple[str, np.ndarray, int]], name: str) -> None:
    """Draw waveforms one above the other over the same seconds."""
    figure = Figure(figsize=(8, 1.5 * len(rows)), layout="constrained")
    for axes, (title, wave, rate) in zip(
        np.ravel(figure.subplots(len(rows), 1, sharex=True)), rows, strict=True
    ):
        axes.plot(np.arange(len(wave)) / rate, wave, linewidth=0.4)
        axes.set_title(title, fontsize="small", loc="left")
    figure.supxlabel("seconds", fontsize="small")
    save(figure, name)


def log_mels(rows: list[tuple[str, np.ndarray]], name: str) -> None:
    """Draw the left channel of log-mels one above the other."""
    figure = Figure(figsize=(8, 2.2 * len(rows)), layout="constrained")
    seconds = SPEC.seconds(SPEC.window_frames * SPEC.hop_length)
    for axes, (title, log_mel) in zip(
        np.ravel(figure.subplots(len(rows), 1, sharex=True)), rows, strict=True
    ):
        extent = (0, seconds, 0, SPEC.n_mels)
        axes.imshow(
            log_mel[0], origin="lower", aspect="auto", extent=extent, cmap="magma"
        )
        axes.set_title(title, fontsize="small", loc="left")
        axes.set_ylabel("mel band", fontsize="small")
    figure.supxlabel("seconds", fontsize="small")
    save(figure, name, dpi=70, colours=20)


def draw_clips(manifest) -> None:
    figure = Figure(figsize=(6, 2.5), layout="constrained")
    axes = figure.subplots()
    counts = [sum(c.label == i for c in manifest.clips) for i in range(len(LABELS))]
    axes.barh(manifest.labels, counts)
    axes.set_xlabel("clips")
    save(figure, "clips")


def draw_waveforms(wave: np.ndarray) -> np.ndarray:
    """Draw channels, rate and length; return the window."""
    stereo = to_channels(wave, 2)
    waves(
        [("left", stereo[0], RATE), ("right, a copy of it", stereo[1], RATE)],
        "channels",
    )
    new = resample(stereo, RATE, SPEC.sample_rate)
    part = slice(6000, 6080)
    double = slice(2 * part.start, 2 * part.stop)
    waves(
        [
            (f"{RATE} Hz, {part.stop - part.start} samples", wave[0, part], RATE),
            (f"44100 Hz, {double.stop - double.start} samples", new[0, double], 44_100),
        ],
        "rate",
    )
    window = fixed_length(new)
    r = np.random.default_rng(3)
    waves(
        [
            ("evaluation: in the middle", window[0], 44_100),
            ("training: at random", fixed_length(new, r=r)[0], 44_100),
        ],
        "length",
    )
    return window


def draw_spectrograms(window: np.ndarray) -> None:
    """Draw log-mel, time shift and masks."""
    log_mel = log_mel_of(window)
    log_mels([("log-mel spectrogram, dB", log_mel)], "log-mel")
    r = np.random.default_rng(1)
    log_mels([("before", log_mel), ("after", time_shift(log_mel, r))], "time-shift")
    wide = FeatureSettings(frequency_masks=2, time_masks=2)
    masks = [("by default", mask(log_mel, r)), ("two of each", mask(log_mel, r, wide))]
    log_mels(masks, "masks")


def draw_network() -> None:
    """Draw the shapes of the article's network."""
    shapes = [(2, 64, 344), (8, 32, 172), (16, 16, 86), (32, 8, 43), (64, 4, 22)]
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.subplots()
    for place, (channels, bands, frames) in enumerate(shapes):
        height, width = bands / 64, frames / 344
        left = place * 1.3
        corner = (left, -height / 2)
        axes.add_patch(_box(corner, width, height))
        axes.text(left, 0.62, f"({channels}, {bands}, {frames})", fontsize="small")
    for place, text in ((5, "(64)"), (5.7, "(10)")):
        axes.add_patch(_box((place * 1.3, -0.3), 0.06, 0.6))
        axes.text(place * 1.3, 0.62, text, fontsize="small")
    axes.set(xlim=(-0.1, 8), ylim=(-0.7, 0.85))
    axes.axis("off")
    save(figure, "network")


def _box(corner: tuple[float, float], width: float, height: float):
    from matplotlib.patches import Rectangle

    return Rectangle(corner, width, height, facecolor="#c7d8ef", edgecolor="#33567f")


def draw_schedule(steps: int = 300) -> None:
    """Draw the learning rate of OneCycle."""
    optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    rates = []
    for _ in range(steps):
        rates.append(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
    figure = Figure(figsize=(6, 2.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(np.linspace(0, 100, steps), rates)
    axes.set(xlabel="share of the steps, %", ylabel="learning rate")
    save(figure, "schedule")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        place = Path(folder)
        manifest = read_manifest(recordings(place / "sounds"))
        manifest = assign_folds(manifest, "group", 5, 0)
        draw_clips(manifest)
        wave = load_audio(place / "sounds" / "clatter" / "clatter0.wav", RATE)
        draw_spectrograms(draw_waveforms(wave))
        data = SoundDataset(manifest, train=True, cache=place / "cache")
        shuffled = torch.Generator().manual_seed(0)
        x, y = next(iter(make_loader(data, 12, generator=shuffled)))
        titles = [manifest.labels[label] for label in y]
        figure = pictures.training_batch(x.numpy(), titles)
        save(figure, "batch", dpi=60, colours=12)
    draw_network()
    draw_schedule()


if __name__ == "__main__":
    main()
