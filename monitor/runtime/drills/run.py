"""All drills by name, each held in a folder of its own that is gone afterwards."""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from monitor.errors import SoundMonitorError
from monitor.runtime.drills.capture_drills import overrun, unplug
from monitor.runtime.drills.delivery_drills import crash, disk, webhook
from monitor.runtime.drills.plan import Plan
from monitor.runtime.drills.private_monitor import Outcome, Say

Drill = Callable[[Plan, Path, Say], Outcome]

DRILLS: Mapping[str, Drill] = {
    "unplug": unplug,
    "overrun": overrun,
    "disk": disk,
    "webhook": webhook,
    "crash": crash,
}


def rehearse(name: str, plan: Plan, say: Say) -> Outcome:
    """Hold one drill; what keeps it from passing becomes its outcome.

    Args:
        name: One of `DRILLS`.
        plan: What it is held with.
        say: Hears of its progress.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"sound-monitor-{name}-"))
    try:
        return DRILLS[name](plan, folder, say)
    except SoundMonitorError as error:
        return Outcome(name, False, str(error))
    except OSError as error:
        return Outcome(name, False, f"it could not be held: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
