"""The command `sound-monitor`: its subcommands, and how each of them ends.

How a command sets up its own process: numeric threads, the log, last words.
"""

import contextlib
import faulthandler
import gc
import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from monitor import __version__
from monitor.commands import (
    alerts,
    analyze,
    benchmark,
    calibrate,
    check,
    devices,
    drill,
    evaluate,
    events,
    forget,
    model,
    replay,
    report,
    run,
    scenes,
    service,
    status,
    train,
)
from monitor.commands.output import tell
from monitor.errors import SoundMonitorError
from monitor.text import printable

PROGRAM = "sound-monitor"
INTERRUPTED = 130

HELP = """Listen to a microphone and tell which sounds of a city it hears.

\b
Begin here:
  sound-monitor run --input demo:      see it work, without a sound card
  sound-monitor devices                which microphones are there
  sound-monitor run                    listen to the default one
  sound-monitor check                  is the configuration sound
  sound-monitor status                 does the one that runs truly listen

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.
"""

app = typer.Typer(
    name=PROGRAM,
    help=HELP,
    add_completion=False,
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run", help=run.HELP)(run.run)
app.command("analyze", help=analyze.HELP)(analyze.analyze)
app.command("devices", help=devices.HELP)(devices.devices)
app.command("check", help=check.HELP)(check.check)
app.command("status", help=status.HELP)(status.status)
app.command("drill", help=drill.HELP)(drill.drill)
app.command("model", help=model.HELP)(model.model)
app.command("events", help=events.HELP)(events.events)
app.command("report", help=report.HELP)(report.report)
app.command("replay", help=replay.HELP)(replay.replay)
app.command("forget", help=forget.HELP)(forget.forget)
app.add_typer(alerts.alerts, name="alerts", help=alerts.HELP)
app.command("train", help=train.HELP)(train.train)
app.command("evaluate", help=evaluate.HELP)(evaluate.evaluate)
app.command("calibrate", help=calibrate.HELP)(calibrate.calibrate)
app.command("scenes", help=scenes.HELP)(scenes.scenes)
app.command("benchmark", help=benchmark.HELP)(benchmark.benchmark)
app.command("install-service", help=service.INSTALL_HELP)(service.install_service)
app.command("uninstall-service", help=service.UNINSTALL_HELP)(service.uninstall_service)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print it, exit."
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def run_command_line(arguments: Sequence[str], commands: typer.Typer = app) -> int:
    """Run one of `commands`; what goes wrong is told on stderr.

    Returns:
        The exit code.
    """
    try:
        command = typer.main.get_command(commands)
        code = command.main(list(arguments), PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except SoundMonitorError as error:
        tell(str(error))
        return error.exit_code
    except typer.TyperException as error:
        tell(error.format_message())
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except (MemoryError, ImportError, SystemError) as error:
        if not _is_for_memory(error):
            raise
        tell("there is not enough memory; allow more, or analyse less at a time")
        return 1
    except BrokenPipeError:
        # Whoever read our output has gone, like `head`.  Nothing can be said any more,
        # and the interpreter must not try to flush at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0


def _is_for_memory(error: Exception) -> bool:
    """Whether memory ran out, maybe while a library was loaded."""
    if isinstance(error, MemoryError):
        return True
    # Of libraries that cannot be loaded for want of it, or forget to say why.
    words = ("failed to map segment", "allocate memory", "without exception set")
    return any(word in str(error) for word in words)


def _open_what_is_closed() -> None:
    """Have something at the places of the standard streams, if only nowhere.

    A file that is opened later would take the place of one that was closed by whoever
    starts us, and what is printed would go into the database.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def main() -> None:
    """Run the command that the shell asks for."""
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        # A name may hold what the terminal's encoding does not.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = run_command_line(sys.argv[1:])
    # The collector would look through all of it once more, and the process ends.
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    main()


# The numeric libraries read these when they are loaded, and take every core if they
# are missing: at a batch of one that can cost a hundred times.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def limit_threads(threads: int) -> None:
    """Give the numeric libraries `threads` threads.  Call before they are imported."""
    for variable in _THREAD_VARIABLES:
        os.environ[variable] = str(threads)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Write log lines to stderr: with their level for the journal, else with time."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JournalFormatter() if _is_journal() else _PlainFormatter())
    handler.addFilter(_Harmless())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for package in ("monitor", "training"):
        logging.getLogger(package).setLevel(level)


def leave_traces() -> None:
    """Say on stderr where every thread was, if the process dies of a signal.

    Such as SIGSEGV, or the SIGABRT with which systemd ends a monitor that hangs.
    """
    # There may be no stderr, and the monitor runs without one.
    with contextlib.suppress(RuntimeError, OSError, ValueError):
        faulthandler.enable()


def _is_journal() -> bool:
    """Whether stderr goes to the journal, as systemd.exec(5) says how to find out.

    That $JOURNAL_STREAM is set is not enough: terminals hand it on.
    """
    try:
        stderr = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    stream = f"{stderr.st_dev}:{stderr.st_ino}"
    return os.environ.get("JOURNAL_STREAM") == stream


class _Harmless(logging.Filter):
    """Lets nothing through that moves a cursor, or that pretends to be another line.

    What devices, programs and servers say of themselves goes into the log.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        lines = record.getMessage().splitlines()
        record.msg, record.args = "\n  ".join(map(printable, lines)), None
        return True


class _PlainFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")


class _JournalFormatter(logging.Formatter):
    """Begins a line with `<N>`, the priority, as sd-daemon(3) describes."""

    def format(self, record: logging.LogRecord) -> str:
        priority = 3 if record.levelno >= logging.ERROR else 6
        if record.levelno == logging.WARNING:
            priority = 4
        # Each line of the text would otherwise be a message of its own, unmarked.
        return f"<{priority}>" + super().format(record).replace("\n", f"\n<{priority}>")
