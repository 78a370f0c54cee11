"""The entry point: what a signal does is settled before the slow imports.

The libraries take a second, and much longer from a slow SD card.
"""

import os
import signal
import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line of the process; never returns."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # There is nothing to clean up yet, and an exception would be a traceback, or
        # disappear in the code of a library.
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    if "run" in sys.argv[1:2]:
        # SIGHUP would end the process.  The daemon takes it once it can reload.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        from monitor.controlling_terminal import terminal_of_process

        terminal_of_process()
        from monitor.memory import collect_rarely

        collect_rarely()
    from monitor.commands import app

    app.main()


if __name__ == "__main__":
    main()
