"""`sound-monitor install-service` and `uninstall-service`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

INSTALL_HELP = """Install the daemon as a service of systemd, and start it.

It prints what it does.  The service runs the program of this environment, from every
boot on, with a user of its own in a sandbox; its configuration is
/etc/sound-monitor/config.yaml, which is never overwritten.  Again after an upgrade, it
writes the unit anew and starts it again.

\b
Examples:
  sound-monitor install-service --dry-run
  sudo /opt/sound-monitor/bin/sound-monitor install-service
  systemctl status sound-monitor             how it is doing
  journalctl -fu sound-monitor               what it hears
"""

UNINSTALL_HELP = """Stop the service of systemd and remove it.

It prints what it does.  Configuration and data stay where they are.
"""

DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
]


def install_service(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            show_default=False,
            help="Becomes /etc/sound-monitor/config.yaml, if there is none yet; "
            "without it: the defaults, each explained.",
        ),
    ] = None,
    dry_run: DryRunOption = False,
) -> None:
    """Install unit and configuration, enable and start the service."""
    from monitor.commands.output import print_line
    from monitor.runtime.service_install import (
        CONFIG,
        carry_out,
        examples,
        find_program,
        plan_install,
    )

    carry_out(plan_install(find_program(), config), _say, dry_run=dry_run)
    print_line()
    print_line(f"Settings: {CONFIG}; `systemctl restart sound-monitor` takes them.")
    print_line(f"Examples for a GPU, PulseAudio and PipeWire: {examples()}")
    print_line("How it is doing: systemctl status sound-monitor")


def uninstall_service(dry_run: DryRunOption = False) -> None:
    """Stop and remove the service; configuration and data stay."""
    from monitor.runtime.service_install import carry_out, plan_uninstall

    carry_out(plan_uninstall(), _say, dry_run=dry_run)


def _say(sentence: str) -> None:
    """Print at once: systemctl may have something to say next."""
    from monitor.commands.output import print_line

    print_line(sentence)
    sys.stdout.flush()
