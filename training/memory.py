"""How the C library treats memory that training gives back."""

import contextlib
import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_PLENTY = 2**31 - 1


def keep_freed_memory() -> None:
    """Let glibc keep what torch frees, instead of giving it back to the kernel.

    Every step frees its activations and asks for the same again; without this a third
    of the time goes into page faults.  Elsewhere than on glibc nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _PLENTY)
        mallopt(_TRIM_THRESHOLD, _PLENTY)
        mallopt(_TOP_PAD, 256 * 2**20)
