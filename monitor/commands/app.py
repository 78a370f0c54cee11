"""The command `sound-monitor`: its subcommands, error messages and exit codes."""

import atexit
import contextlib
import errno
import io
import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import TracebackType
from typing import Annotated, NoReturn

import typer

from monitor import __version__
from monitor.__main__ import INTERRUPTED
from monitor.commands.process import (
    Command,
    Group,
    print_error,
    print_help_without_command,
)
from monitor.errors import SoundMonitorError, shortage
from monitor.output import output_of_process

_logger = logging.getLogger(__name__)

PROGRAM = "sound-monitor"

HELP = """Listen to microphones and detect sounds as they happen.

First steps:
  sound-monitor run --input demo:    try it without a microphone
  sound-monitor devices              list the microphones
  sound-monitor run                  listen to the default microphone
  sound-monitor check                validate the configuration
  sound-monitor status               show whether the monitor is listening

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted.
"""

DAEMON, HISTORY, RECORDINGS, MODELS = "Daemon", "History", "Recordings", "Models"
FLEET = "Fleet"

COMMANDS = {
    "run": (DAEMON, "run", "HELP"),
    "check": (DAEMON, "check", "HELP"),
    "devices": (DAEMON, "devices", "HELP"),
    "status": (DAEMON, "status", "HELP"),
    "drill": (DAEMON, "drill", "HELP"),
    "web": (DAEMON, "web", "HELP"),
    "install-service": (DAEMON, "service", "INSTALL_HELP"),
    "uninstall-service": (DAEMON, "service", "UNINSTALL_HELP"),
    "events": (HISTORY, "events", "HELP"),
    "report": (HISTORY, "report", "HELP"),
    "replay": (HISTORY, "replay", "HELP"),
    "forget": (HISTORY, "forget", "HELP"),
    "analyze": (RECORDINGS, "analyze", "HELP"),
    "archive": (RECORDINGS, "archive", "HELP"),
    "benchmark": (RECORDINGS, "benchmark", "HELP"),
    "model": (MODELS, "model", "HELP"),
    "train": (MODELS, "train", "HELP"),
    "evaluate": (MODELS, "evaluate", "HELP"),
    "calibrate": (MODELS, "calibrate", "HELP"),
    "teach": (MODELS, "teach", "HELP"),
    "scenes": (MODELS, "scenes", "HELP"),
    "collect": (FLEET, "collect", "HELP"),
    "alerts": (HISTORY, "alerts", "HELP"),
    "rollout": (FLEET, "rollout", "HELP"),
}
"""Section, module and help of each subcommand; its function is named like it."""


def build_app(wanted: str = "") -> typer.Typer:
    """Build the command line: the subcommand `wanted` alone, else all of them.

    The modules of all subcommands take longer to import than most commands to run.
    """
    app = typer.Typer(
        name=PROGRAM,
        cls=Group,
        help=HELP,
        add_completion=False,
        invoke_without_command=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in (wanted,) if wanted in COMMANDS else COMMANDS:
        section, module_name, help_name = COMMANDS[name]
        module = import_module(f"monitor.commands.{module_name}")
        text = getattr(module, help_name)
        function = getattr(module, name.replace("-", "_"))
        if isinstance(function, typer.Typer):
            app.add_typer(function, name=name, help=text, rich_help_panel=section)
        else:
            app.command(name, cls=Command, help=text, rich_help_panel=section)(function)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    print_help_without_command(context)


def run_command_line(
    arguments: Sequence[str], commands: typer.Typer | None = None
) -> int:
    """Run one of `commands`, print expected errors on stderr, return the exit code."""
    try:
        commands = commands or build_app(*arguments[:1])
        command = typer.main.get_command(commands)
        code = command.main(list(arguments), PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has ended, for example `head`.
        _discard_output()
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _discard_output()
        sentence = _sentence(error)
        if sentence is None:
            raise
        _logger.debug("%s", sentence, exc_info=error)
        print_error(sentence)
        return getattr(error, "exit_code", 1)
    return code if isinstance(code, int) else 0


def _sentence(error: Exception) -> str | None:
    """Return what a user is told of an error; None: it is a bug."""
    if (short := shortage(error)) is not None:
        return short
    if isinstance(error, SoundMonitorError):
        return str(error)
    if isinstance(error, typer.TyperException):
        message = " ".join(error.format_message().split())
        # pydantic's prefix, which says nothing to a user.
        return message.replace("Value error, ", "")
    if isinstance(error, ImportError):
        # numpy explains in thirty lines, of which the last has the reason.
        reason = str(error).strip().splitlines()[-1]
        return f"a library cannot be loaded: {reason}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the output cannot be written: {error.strerror}"
    return None


def _discard_output() -> None:
    """Have the interpreter flush nothing that cannot be written at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _reopen_closed_streams() -> None:
    """Open /dev/null for standard streams that the caller has closed.

    Otherwise the next file takes the descriptor of a closed stream, and printed text
    would go into the database.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def main() -> NoReturn:
    """Run the command line of the process."""
    sys.excepthook = _leave_after
    _reopen_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # A name may contain characters that the terminal's encoding lacks.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    is_daemon = "run" in sys.argv[1:2]
    if is_daemon:
        output_of_process()
    elif signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        # From here on a command may have something to clean up.  The daemon has not:
        # until it listens, Ctrl-C ends it at once.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = run_command_line(sys.argv[1:])
    except SystemExit as asked:
        code = asked.code if isinstance(asked.code, int) else 1
    leave(code)


def leave(code: int) -> NoReturn:
    """End the process with `code`, once its output is written.

    Threads of native libraries may still run; they abort a process whose interpreter is
    taken down, with another exit code.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(code))
    with contextlib.suppress(OSError, ValueError):
        atexit._run_exitfuncs()
        if code != INTERRUPTED:  # a reader may have stopped the command
            sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _leave_after(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Leave after an exception that nothing has handled: a bug, or Ctrl-C."""
    if issubclass(kind, KeyboardInterrupt):
        leave(INTERRUPTED)
    if (short := shortage(error)) is None:
        sys.__excepthook__(kind, error, trace)
    else:
        print_error(short)
    leave(1)
