"""The failures that callers are expected to handle.

Their message is one sentence for the user: it names the thing, the value and the
rule, and says what to do.  Anything else that is raised is a bug, or a shortage.
"""

import errno

_OF_MEMORY = ("bad_alloc", "failed to map segment", "cannot map zero-fill pages")
"""Words of the C++ libraries and of the loader, in exceptions of other kinds."""


class SoundMonitorError(Exception):
    """Expected trouble; a command that ends with it returns `exit_code`."""

    exit_code = 1


class UsageError(SoundMonitorError):
    """The command line or the configuration asks for something impossible."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file breaks a rule; the message names file, key and value."""


class ModelFileError(SoundMonitorError):
    """A model file is missing, foreign, damaged, or computes other numbers here."""


class AudioFileError(SoundMonitorError):
    """A recording cannot be read; `reason` says why in a word or two."""

    def __init__(self, sentence: str, reason: str = "unreadable") -> None:
        super().__init__(sentence)
        self.reason = reason


class StoreError(SoundMonitorError):
    """The database cannot be used by this program."""


class StoreDamagedError(StoreError):
    """The database is damaged; a monitor sets it aside when it starts."""


class StoreUnavailableError(StoreError):
    """The database cannot be used now, as on a full disk; trying again may help."""


class ClosedError(StoreUnavailableError):
    """The monitor reloads or stops: nothing was done; try it again in a moment."""


class StoreBusyError(StoreUnavailableError):
    """Another program locks the database; trying again soon may help."""


class ServiceError(SoundMonitorError):
    """The service cannot be installed, removed or started."""


class DatasetError(SoundMonitorError):
    """A folder of recordings cannot be trained on or evaluated."""


class SourceError(SoundMonitorError):
    """A source cannot be opened, or broke while it was read; opening again may help.

    Not before `retry_seconds`, in which nothing will have changed.  `is_end` is true
    if the other side has ended a stream that had worked, `is_stall` if it is there and
    delivers nothing.
    """

    def __init__(
        self,
        sentence: str,
        retry_seconds: float = 0.0,
        *,
        is_end: bool = False,
        is_stall: bool = False,
    ) -> None:
        super().__init__(sentence)
        self.retry_seconds = retry_seconds
        self.is_end, self.is_stall = is_end, is_stall


class EndOfSourceError(SoundMonitorError):
    """A source has delivered everything: the recording is over, the stream closed."""


class OverrunError(SoundMonitorError):
    """The samples asked for have been overwritten: say so with a Gap, skip ahead."""


def shortage(error: BaseException) -> str | None:
    """Return the sentence for an error of too little memory or too few threads.

    It can come from any line of any library, and says how much was asked for: a bug
    may ask for too much.  None: the error is something else.
    """
    if isinstance(error, UsageError):
        return None  # it quotes what a user wrote
    text = str(error).strip()
    if isinstance(error, RuntimeError) and text == "can't start new thread":
        return "no thread can be started: allow more memory, or more tasks"
    is_memory = (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or any(words in text for words in _OF_MEMORY)
    )
    if is_memory:
        # numpy explains in thirty lines, of which the last has the reason.
        cause = f" ({text.splitlines()[-1]})" if text else ""
        return f"not enough memory{cause}; allow more, or analyse less at a time"
    return None
