"""`sound-monitor run`: the daemon."""

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated

from monitor.commands.arguments import (
    ComputeDeviceOption,
    ConfigOption,
    ModelOption,
    Speed,
    flag,
    option,
)

if TYPE_CHECKING:
    from monitor.commands.configuration import Configuration
    from monitor.config.config import Config
    from monitor.runtime.reload import FreshConfig
    from monitor.sinks.status_snapshot import DaemonFacts

logger = logging.getLogger(__name__)

NOTICE_SECONDS = 0.3
"""Time after which a person at a terminal wonders what the program does."""

HELP = """Listen, and report sounds as they happen.

On a terminal, a full-screen display shows the sound, levels, scores and
events; press ? in it for its keys.  In a pipe, or with NO_COLOR set, each
event is one plain line.  Events are also appended to the event log and stored
in the database.  The daemon waits for a microphone that is missing or
unplugged; a recording or the demo ends the program when it is over, but with
--web on a terminal the page stays until Ctrl-C.  Ctrl-C stops: events that
are still open are ended and written first.  So does closing the terminal,
unless the program was started with nohup or setsid.  SIGHUP reloads the
configuration: unchanged sources go on without losing a sample, and an invalid
configuration is rejected as a whole.

Examples:
  sound-monitor run --input demo:            a synthetic street, no sound card
  sound-monitor run                          the default microphone
  sound-monitor run --input "mic:USB Audio"  by name, see 'devices'
  sound-monitor run --input file:street.wav --speed max
  sound-monitor run --input "command:arecord -q -t wav -f S16_LE -r 44100"
  sound-monitor run --input rtsp://192.168.1.20/stream1
  sound-monitor run --config config.yaml     several sources, other thresholds
  sound-monitor run --input demo: --web      with the web page, see 'web'
"""


def run(
    config: ConfigOption = None,
    inputs: Annotated[
        list[str] | None,
        option(
            "SPEC",
            "mic:NAME, file:PATH, command:ARGV, demo:, udp:PORT or a URL, instead of "
            "the sources in the configuration; may be repeated.",
            "--input",
        ),
    ] = None,
    speed: Annotated[
        Speed,
        option(
            None,
            "Speed of recordings and the demo: real time, or as fast as they can be "
            "analysed.  The events are the same.",
        ),
    ] = "realtime",
    model: ModelOption = None,
    compute_device: ComputeDeviceOption = None,
    web: Annotated[
        bool,
        flag("--web", "Serve the web page as well, as `sound-monitor web` does."),
    ] = False,
    watchdog: Annotated[
        float | None,
        option(
            "SECONDS",
            "End with 1 if a source or the analysis hangs for so long, so that it is "
            "started again; at least 5; 30 in a container.",
            min=5,
            max=3600,
        ),
    ] = None,
) -> int:
    """Run the daemon until it is stopped or its recordings are over."""
    from monitor.commands.configuration import load, load_again, with_options
    from monitor.commands.process import (
        enable_stack_traces,
        limit_threads,
        log_to_stderr,
    )
    from monitor.controlling_terminal import terminal_of_process
    from monitor.errors import ConfigError
    from monitor.memory import share_heap
    from monitor.output import output_of_process
    from monitor.private_files import restrict_folder
    from monitor.sinks.status_snapshot import DaemonFacts

    share_heap()
    configuration = load(config)
    environ: Mapping[str, str] = os.environ
    log_to_stderr()
    if configuration.config.rollout.url is not None:
        from monitor.runtime.rollout_state import note_start

        environ = {**environ, **note_start(configuration.state_dir)}
        configuration = load_again(configuration, environ)
    configuration = configuration.fitting(model)
    options = {"inputs": inputs or [], "model": None if model is None else str(model)}
    facts = DaemonFacts(
        configuration.taken,
        configuration.digest,
        overrides=configuration.overrides_sentence,
        unfit_overrides=tuple(configuration.unfit_sentences),
        bundle_fault=configuration.bundle_fault,
        command_environ=configuration.command_environ(options),
    )

    def chosen(configuration: "Configuration") -> "Config":
        return with_options(
            configuration.config,
            inputs=inputs or (),
            model=model,
            compute_device=compute_device,
        )

    def reread() -> "FreshConfig":
        from monitor.runtime.reload import FreshConfig

        again = load_again(configuration, environ).fitting(model)
        return FreshConfig(
            chosen(again),
            again.state_dir,
            again.placed,
            again.digest,
            again.overrides_sentence,
            tuple(again.unfit_sentences),
            again.bundle_fault,
        )

    settings = chosen(configuration)
    enable_stack_traces()
    logger.info("%s", configuration.sentence)
    if configuration.overrides_sentence:
        level = logging.WARNING if configuration.unfit else logging.INFO
        logger.log(level, "%s", configuration.overrides_sentence)
    if configuration.bundle_sentence:
        level = logging.WARNING if configuration.bundle_fault else logging.INFO
        logger.log(level, "%s", configuration.bundle_sentence)
    if (problem := restrict_folder(configuration.state_dir)) is not None:
        raise ConfigError(f"state_dir: {problem}")
    limit_threads(settings.model.threads)
    page = _page(configuration, facts) if web else nullcontext()
    with configuration.placing(), page, notice_of_loading() as loaded:
        from monitor.runtime.daemon import run_daemon

        return run_daemon(
            settings,
            speed=speed,
            state_dir=configuration.state_dir,
            facts=facts,
            reread=reread,
            output=output_of_process(),
            terminal=terminal_of_process(),
            loaded=loaded,
            watchdog_seconds=watchdog,
        )


def _page(
    configuration: "Configuration", facts: "DaemonFacts"
) -> AbstractContextManager[object]:
    """Return the web page as a child process, which runs with the block.

    Args:
        configuration: The configuration of the file.
        facts: Get the address of the page.

    Raises:
        UsageError: It cannot be served.
    """
    from monitor.commands.web import check_page
    from monitor.runtime.page_process import web_page

    check_page(configuration.config, configuration.state_dir)
    path = configuration.path
    chosen = [] if path is None else ["--config", str(path)]

    def found(address: str, fault: str) -> None:
        facts.page, facts.page_fault = address, fault

    found("", "")

    return web_page(["web", *chosen], facts.command_environ, found)


@contextmanager
def notice_of_loading(seconds: float = NOTICE_SECONDS) -> Iterator[Callable[[], None]]:
    """Say on a terminal that libraries and model are loaded, if that takes so long.

    Yields:
        The function to call once they are.
    """
    timer = threading.Timer(seconds, logger.info, ["loading the model ..."])
    timer.name = "loading"
    if sys.stderr.isatty():
        timer.start()
    try:
        yield timer.cancel
    finally:
        timer.cancel()
