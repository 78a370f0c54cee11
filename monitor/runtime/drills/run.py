"""The drills by name; each runs in a temporary folder."""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from monitor.errors import SoundMonitorError
from monitor.runtime.drills.capture_drills import overrun, unplug
from monitor.runtime.drills.delivery_drills import crash, disk, webhook
from monitor.runtime.drills.monitor_process import Outcome, Say
from monitor.runtime.drills.plan import Plan

DRILLS: Mapping[str, Callable[[Plan, Path, Say], Outcome]] = {
    "unplug": unplug,
    "overrun": overrun,
    "disk": disk,
    "webhook": webhook,
    "crash": crash,
}


def run_drill(name: str, plan: Plan, say: Say) -> Outcome:
    """Run one of `DRILLS`; an expected error becomes a failed outcome."""
    folder = Path(tempfile.mkdtemp(prefix=f"sound-monitor-{name}-"))
    try:
        return DRILLS[name](plan, folder, say)
    except SoundMonitorError as error:
        return Outcome(name, False, str(error))
    except OSError as error:
        return Outcome(name, False, f"the drill could not run: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
