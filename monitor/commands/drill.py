"""`sound-monitor drill`: failures caused on purpose, and the recovery from them."""

import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from monitor.commands.arguments import ConfigOption, JsonOption, argument, option
from monitor.errors import SoundMonitorError

if TYPE_CHECKING:
    from monitor.runtime.drills.monitor_process import DrillResult
    from monitor.runtime.drills.plan import DrillPlan

HELP = """Break a private monitor on purpose, and measure how it recovers.

The private monitor runs beside the real one, with the configured model and
its own state, which is deleted afterwards; no alerts leave the machine.  Each
drill prints one line; all of them together take about seven minutes.

Drills:
  unplug    kill, then freeze the process that captures the microphone
  overrun   stop the monitor for longer than its ring buffer holds
  disk      fill the disk
  webhook   let the alert endpoint reject alerts, fail and hang
  crash     kill the monitor at random moments
  terminal  read nothing of the display
  clock     set its clock: days behind, right, back, far ahead
  page      damage a page of its database
  readonly  make its disk read-only (as root)
  all       all of them, one after the other

Only unplug captures from a configured source, the first live one; the others
listen to a program that plays bursts of noise at known times.

Examples:
  sound-monitor drill all
  sound-monitor drill unplug --input "mic:USB Audio"
  sound-monitor drill unplug --input demo:       without a sound card

Exit codes: 0 all passed, 1 one failed, 2 wrong usage.
"""

Name = Literal[
    "all",
    "unplug",
    "overrun",
    "disk",
    "webhook",
    "crash",
    "terminal",
    "clock",
    "page",
    "readonly",
]


def drill(
    name: Annotated[Name, argument("DRILL", "Name of a drill, or all.")],
    config: ConfigOption = None,
    source: Annotated[
        str | None,
        option(
            "SPEC",
            "Source to unplug: mic:NAME, command:ARGV or demo:, instead of the first "
            "live source of the configuration.",
            "--input",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Run the drills and print their results."""
    from monitor.commands.configuration import load, with_options
    from monitor.commands.process import print_json, print_line
    from monitor.runtime.drills.plan import plan_drills
    from monitor.sinks.alerts.secrets import hide_secrets

    settings = load(config).fitting().config
    hide_secrets(settings.model_dump())
    chosen = None
    if source is not None:
        chosen = with_options(settings, inputs=[source]).sources[0]
    names = get_args(Name)[1:] if name == "all" else (name,)
    plan = plan_drills(settings, chosen, needs_source="unplug" in names)
    # However the drill ends, the processes it has started must not stay.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    outcomes = []
    for each in names:
        _say(f"drill {each}")
        outcome = _run_drill(each, plan)
        outcomes.append(outcome)
        if not as_json:
            verdict = "pass" if outcome.passed else "FAIL"
            print_line(f"{outcome.drill:<9}{verdict}   {outcome.sentence}")
            sys.stdout.flush()
    if as_json:
        print_json([_facts(outcome) for outcome in outcomes])
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def _run_drill(name: Name, plan: "DrillPlan") -> "DrillResult":
    """Run a drill in a temporary folder; an expected error is a failed outcome."""
    from monitor.runtime.drills.capture_drills import overrun, unplug
    from monitor.runtime.drills.clock_drill import clock
    from monitor.runtime.drills.database_drills import page, readonly
    from monitor.runtime.drills.delivery_drills import crash, disk, webhook
    from monitor.runtime.drills.monitor_process import DrillResult
    from monitor.runtime.drills.terminal_drill import terminal

    drills = (unplug, overrun, disk, webhook, crash, terminal, clock, page, readonly)
    run = {each.__name__: each for each in drills}[name]
    with tempfile.TemporaryDirectory(
        prefix=f"sound-monitor-{name}-", ignore_cleanup_errors=True
    ) as folder:
        try:
            return run(plan, Path(folder), _say)
        except SoundMonitorError as error:
            return DrillResult(name, False, str(error))
        except OSError as error:
            return DrillResult(name, False, f"the drill could not run: {error}")


def _facts(outcome: "DrillResult") -> dict[str, Any]:
    seconds = outcome.recovery_seconds
    return {
        "drill": outcome.drill,
        "passed": outcome.passed,
        "sentence": outcome.sentence,
        "recovery_seconds": None if seconds is None else round(seconds, 3),
        "facts": outcome.facts,
    }


def _say(sentence: str) -> None:
    """Print progress on stderr, apart from the results."""
    from monitor.text import printable

    sys.stderr.write(f"  {printable(sentence)}\n")
    sys.stderr.flush()
