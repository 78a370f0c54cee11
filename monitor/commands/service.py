"""`sound-monitor install-service` and `uninstall-service`."""

import sys
from pathlib import Path
from typing import Annotated

from monitor.commands.arguments import flag, option

INSTALL_HELP = """Install the daemon as a systemd service and start it.

The service runs the program of this Python environment at every boot, as its
own user and in a sandbox.  Its configuration is
/etc/sound-monitor/config.yaml, which is never overwritten; `systemctl reload
sound-monitor` applies changes.  After an upgrade, run the command again: it
replaces the unit file and restarts the service.  The program is linked into
/usr/local/bin, unless something else has its name there.  With --web a
second service, sound-monitor-web, serves the web page.

Examples:
  sound-monitor install-service --dry-run
  sudo /opt/sound-monitor/bin/sound-monitor install-service
  systemctl status sound-monitor             its state
  journalctl -fu sound-monitor               its events
"""

UNINSTALL_HELP = """Stop and remove the systemd service, and that of the web page.

Its link in /usr/local/bin is removed too.  Configuration and data stay where
they are.
"""

DryRunOption = Annotated[
    bool, flag("--dry-run", "Print the steps, and change nothing.")
]


def install_service(
    config: Annotated[
        Path | None,
        option(
            "FILE",
            "Initial /etc/sound-monitor/config.yaml; by default all settings with "
            "their explanations.  An existing file is kept.",
        ),
    ] = None,
    web: Annotated[
        bool, flag("--web", "Install the service of the web page as well.")
    ] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Install the unit file and the configuration, and start the service."""
    from monitor.extras import require_extra
    from monitor.runtime.service_install import (
        CONFIG,
        calling_name,
        carry_out,
        examples,
        find_program,
        plan_install,
    )

    program = find_program()
    if web:
        require_extra("web", "starlette", "--web")
    carry_out(plan_install(program, config, web=web), _say, dry_run=dry_run)
    password = f"sudo {calling_name(program)} web --set-password"
    for line in (
        "",
        f"Configuration: {CONFIG}; apply changes: sudo systemctl reload sound-monitor",
        f"Examples for a GPU, PulseAudio and PipeWire: {examples()}",
        f"State: sudo {calling_name(program)} status",
        *(
            [f"Page: web.listen in {CONFIG}; for other machines, first: {password}"]
            if web
            else []
        ),
    ):
        _say(line)


def uninstall_service(dry_run: DryRunOption = False) -> None:
    """Stop and remove the service."""
    from monitor.runtime.service_install import carry_out, plan_uninstall

    carry_out(plan_uninstall(), _say, dry_run=dry_run)


def _say(sentence: str) -> None:
    """Print and flush: systemctl may print next."""
    from monitor.commands.process import print_line

    print_line(sentence)
    sys.stdout.flush()
