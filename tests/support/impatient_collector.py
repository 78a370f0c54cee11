"""`sound-monitor collect` that asks for missing records after seconds, and judges soon.

`python -m tests.support.impatient_collector SECONDS ARGUMENTS`, those of `collect`.
"""

import sys
from datetime import timedelta
from functools import partial
from typing import Any

from monitor.__main__ import main
from monitor.fleet.collect import collector, notices

seconds = float(sys.argv[1])
settings: dict[str, Any] = {
    "ask_after": timedelta(seconds=seconds),
    "look_seconds": seconds / 2,
}
collector.Collector = partial(  # type: ignore[assignment, misc]
    collector.Collector, **settings
)
notices.Notifier = partial(  # type: ignore[assignment, misc]
    notices.Notifier,
    look_seconds=0.05,
    settle_seconds=0.0,
    first_pause_seconds=0.05,
)
sys.argv[1:] = ["collect", *sys.argv[2:]]
main()
