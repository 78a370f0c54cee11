"""Options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

ComputeDevice = Literal["auto", "cpu", "cuda", "mps"]
Speed = Literal["realtime", "max"]

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        show_default=False,
        help="Configuration file.  Without it: $SOUND_MONITOR_CONFIG, else "
        "/etc/sound-monitor/config.yaml, else the defaults.",
    ),
]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="FILE",
        show_default=False,
        help="Model file, instead of the one that comes with the program.",
    ),
]
ComputeDeviceOption = Annotated[
    ComputeDevice | None,
    typer.Option(
        "--compute-device",
        show_default=False,
        help="Processor of the network; auto takes a GPU where there is one.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON, for other programs.")
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        show_default=False,
        help="So long ago, as 90s, 15m, 1h, 2d or 1w, or a time: 2026-11-23T07:30.",
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="TIME",
        show_default=False,
        help="The same for the end; without it: now.",
    ),
]
