"""`sound-monitor web`: the web page of a monitor."""

from typing import Annotated

from monitor.commands.arguments import ConfigOption, option

HELP = """Serve the web page of the monitor that runs with this configuration.

The page shows what the monitor hears now and what it has heard.  It needs the
extra `web`.  Without a password it answers on this machine only.

Examples:
  sound-monitor web                          http://127.0.0.1:8090
"""

DEFAULT_LISTEN = "127.0.0.1:8090"


def web(
    config: ConfigOption = None,
    listen: Annotated[
        str,
        option("ADDRESS", "Address and port, such as 127.0.0.1:8090.", "--listen"),
    ] = DEFAULT_LISTEN,
) -> int:
    """Serve the page until it is stopped."""
    import os

    from monitor import __version__
    from monitor.commands.configuration import load
    from monitor.commands.process import log_to_stderr
    from monitor.extras import require_extra
    from monitor.sinks.status_client import client_paths

    for module in ("starlette", "uvicorn", "jinja2"):
        require_extra("web", module, "web")
    from monitor.web.app import build_app
    from monitor.web.context import WebContext
    from monitor.web.server import serve

    configuration = load(config)
    settings, state_dir = configuration.config, configuration.state_dir
    stored = settings.store.path
    log_to_stderr()
    context = WebContext(
        config=settings,
        state_dir=state_dir,
        database=None if stored is None else state_dir / stored,
        clips=state_dir / settings.clips.path if settings.privacy == "clips" else None,
        sockets=tuple(client_paths(settings.status.socket, state_dir, os.environ)),
        version=__version__,
    )
    host, _, port = listen.rpartition(":")
    serve(build_app(context), host.strip("[]"), int(port))
    return 0
