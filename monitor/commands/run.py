"""`sound-monitor run`: the daemon."""

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.arguments import (
    ComputeDeviceOption,
    ConfigOption,
    ModelOption,
    Speed,
)

if TYPE_CHECKING:
    from monitor.commands.configuration import Configuration
    from monitor.config.config import Config
    from monitor.runtime.reload import Again

logger = logging.getLogger(__name__)

HELP = """Listen, and tell what is heard as it happens.

On a terminal a live display shows levels, scores and events; elsewhere each event is
one plain line.  Everything is also appended to the event log.  A microphone that is
missing or unplugged is waited for; a recording or the demo ends with its last sound.
Ctrl-C stops; sounds that are still going on are ended and written first.  SIGHUP reads
the configuration again: what stays the same goes on without losing a sample, and a
configuration that is wrong is refused whole.

\b
Examples:
  sound-monitor run --input demo:            a synthetic street, no sound card
  sound-monitor run                          the default microphone
  sound-monitor run --input "mic:USB Audio"  by name, see 'devices'
  sound-monitor run --input file:street.wav --speed max
  sound-monitor run --input "command:arecord -q -t wav -f S16_LE -r 44100"
  sound-monitor run --config config.yaml     several sources, own thresholds
"""


def run(
    config: ConfigOption = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="SPEC",
            show_default=False,
            help="mic:NAME, file:PATH, command:ARGV or demo:, instead of the sources "
            "of the configuration; may be given several times.",
        ),
    ] = None,
    speed: Annotated[
        Speed,
        typer.Option(
            help="How fast a recording or the demo is fed: as it would sound, or as "
            "fast as it can be analysed.  The events are the same."
        ),
    ] = "realtime",
    model: ModelOption = None,
    compute_device: ComputeDeviceOption = None,
) -> int:
    """Run the daemon until it is stopped or its recordings are over."""
    from monitor.commands.app import leave_traces, limit_threads, log_to_stderr
    from monitor.commands.configuration import load, load_again, with_options
    from monitor.sinks.status_snapshot import DaemonFacts

    configuration = load(config)
    facts = DaemonFacts(configuration.taken)

    def chosen(configuration: "Configuration") -> "Config":
        return with_options(
            configuration.config,
            inputs=inputs or (),
            model=model,
            compute_device=compute_device,
        )

    def reread() -> "Again":
        from monitor.runtime.reload import Again

        again = load_again(configuration)
        return Again(chosen(again), again.state_dir, again.placed)

    settings = chosen(configuration)
    log_to_stderr()
    leave_traces()
    logger.info("%s", configuration.sentence)
    limit_threads(settings.model.threads)
    from monitor.runtime.daemon import run_daemon

    with configuration.placing():
        return run_daemon(
            settings,
            speed=speed,
            state_dir=configuration.state_dir,
            facts=facts,
            reread=reread,
        )
