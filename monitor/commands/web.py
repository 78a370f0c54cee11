"""`sound-monitor web`: the web page of a monitor."""

import getpass
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from monitor.commands.arguments import ConfigOption, flag, option
from monitor.errors import ConfigError, UsageError
from monitor.extras import require_extra

if TYPE_CHECKING:
    from monitor.commands.configuration import Configuration
    from monitor.config.config import Config
    from monitor.web.app import WebApp
    from monitor.web.context import WebContext

HELP = """Serve the web page of the monitor that runs with this configuration.

The page shows what the monitor hears now and what it has heard; its settings
are in the section `web`.  It needs the extra `web`.  Without a password it
answers on this machine only.  The monitor need not run.

With --fleet it shows what `sound-monitor collect` has stored: many monitors,
the deaf ones first, their events, days, clocks and missing records.  This
needs the extra `fleet`.

Examples:
  sound-monitor web                          http://127.0.0.1:8480
  sound-monitor web --set-password           asks for it twice
  sound-monitor web --set-password --viewer  for people who only look
  sound-monitor web --listen 0.0.0.0:8480    once there is a password
  sound-monitor web --fleet postgresql:///fleet
"""

SERVICE_STATE = Path("/var/lib/sound-monitor")
"""State of the service, for a shell that lacks the variables of its unit."""


def web(
    config: ConfigOption = None,
    listen: Annotated[
        str | None,
        option("ADDRESS", "Address and port, instead of web.listen.", "--listen"),
    ] = None,
    fleet: Annotated[
        str | None,
        option("URL", "Show this database of a collector; see `collect`.", "--fleet"),
    ] = None,
    set_password: Annotated[
        bool,
        flag("--set-password", "Set the password, from a prompt or stdin, and end."),
    ] = False,
    viewer: Annotated[
        bool, flag("--viewer", "With --set-password: for people who only look.")
    ] = False,
) -> int:
    """Serve the page until it is stopped."""
    from monitor.commands.configuration import load
    from monitor.commands.process import log_to_stderr

    if viewer and not set_password:
        raise UsageError("--viewer needs --set-password")
    configuration = load(config)
    settings = configuration.config
    if listen is not None:
        settings = _with_address(settings, listen)
    folder = _state_folder(configuration)
    if set_password:
        return _set_password(settings, folder, is_viewer=viewer)
    check_page(settings, folder)
    if fleet is not None:
        from monitor.commands.collect import check_address

        require_extra("fleet", "psycopg", "--fleet")
        check_address(fleet, "--fleet")
    log_to_stderr()
    if fleet is not None:
        return _serve(settings, lambda: _fleet_app(settings, folder, fleet))
    from monitor.web.app import build_app

    context = current_context(configuration, settings, folder)
    return _serve(settings, lambda: build_app(context))


def _fleet_app(settings: "Config", folder: Path, fleet: str) -> "WebApp":
    from monitor import __version__
    from monitor.web.fleet.app import build_fleet_app
    from monitor.web.fleet.context import FleetContext

    context = FleetContext(
        config=settings,
        state_dir=folder,
        database=None,
        clips=None,
        sockets=(),
        version=__version__,
        fleet=fleet,
    )
    with context.reading_fleet() as reader:  # what cannot work is said now
        reader.facts()
    return build_fleet_app(context)


def _serve(settings: "Config", build: "Callable[[], WebApp]") -> int:
    from monitor.__main__ import INTERRUPTED
    from monitor.memory import share_heap
    from monitor.web.server import listen, serve

    share_heap()
    listener = listen(*settings.web.address)
    return INTERRUPTED if serve(build(), listener) else 0


def check_page(settings: "Config", folder: Path) -> None:
    """Check that the page can be served; imports nothing that takes time.

    Raises:
        UsageError: An extra or a password is missing, or a password file is damaged.
    """
    from monitor.web.passwords import PasswordFiles, needs_password

    for module in ("starlette", "uvicorn", "jinja2"):
        require_extra("web", module, "sound-monitor web")
    passwords = PasswordFiles(make_context(settings, folder).password_files).read()
    if passwords is None and needs_password(settings.web):
        page = settings.web
        key, value = "listen", page.listen
        otherwise = "listen on 127.0.0.1"
        if page.trusted_proxy is not None:
            key, value = "trusted_proxy", page.trusted_proxy
            otherwise = "trust no proxy"
        raise ConfigError(
            f"web.{key}: {value}: other machines reach the page, and there is no "
            "password: set one with `sound-monitor web --set-password`, or "
            f"{otherwise}"
        )


def make_context(
    settings: "Config", folder: Path, file: Path | None = None
) -> "WebContext":
    """Make the context of the pages."""
    from monitor import __version__
    from monitor.sinks.status_client import client_paths
    from monitor.web.context import WebContext

    stored, clips = settings.store.path, settings.clips.path
    return WebContext(
        config=settings,
        state_dir=folder,
        database=None if stored is None else folder / stored,
        clips=folder / clips if settings.privacy == "clips" else None,
        sockets=tuple(client_paths(settings.status.socket, folder, os.environ)),
        config_file=None if file is None else file.absolute(),
        version=__version__,
    )


def current_context(
    configuration: "Configuration", settings: "Config", folder: Path
) -> "WebContext":
    """Make the context of pages that follow the changes of the configuration."""
    from monitor.commands.configuration import load_again

    context = make_context(settings, folder, configuration.path)
    context.read_again = lambda: make_context(load_again(configuration).config, folder)
    return context


def _with_address(settings: "Config", listen: str) -> "Config":
    from monitor.config.load import check_settings
    from monitor.config.web import WebSettings

    data = settings.web.model_dump() | {"listen": listen}
    checked = check_settings(WebSettings, data, "--listen")
    return settings.model_copy(update={"web": checked})


def _state_folder(configuration: "Configuration") -> Path:
    """Return the state folder: for root and the service's configuration, its own."""
    from monitor.commands.configuration_file import SYSTEM_FILE

    is_service = (
        configuration.path == SYSTEM_FILE
        and configuration.config.state_dir is None
        and not os.environ.get("STATE_DIRECTORY")
        and os.geteuid() == 0
        and SERVICE_STATE.is_dir()
    )
    return SERVICE_STATE if is_service else configuration.state_dir


def _set_password(settings: "Config", folder: Path, *, is_viewer: bool) -> int:
    from monitor.commands.process import print_line
    from monitor.web.passwords import PasswordFiles

    context = make_context(settings, folder)
    files = PasswordFiles(context.password_files)
    files.write("viewer" if is_viewer else "owner", _read_password())
    who = "people who only look" if is_viewer else "the page"
    print_line(f"the password of {who} is set; everybody has to sign in again")
    return 0


def _read_password() -> str:
    """Read a password: twice from a terminal, else the first line of stdin."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise UsageError("the two passwords differ; nothing is changed")
    return password
