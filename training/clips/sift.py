"""Which files of a data set are no use."""

import hashlib
from pathlib import Path

import soundfile


def fault(path: Path, seen: set[bytes]) -> str | None:
    """Say in a word why a file is no use; None if it is of use.

    Args:
        path: Of the file.
        seen: Digests of the files so far; this one's is added.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return "missing"
    digest = hashlib.blake2b(content, digest_size=16).digest()
    if not content:
        return "empty"
    if digest in seen:
        return "duplicate"
    try:
        frames: int = soundfile.info(path).frames
    except soundfile.LibsndfileError:
        return "unreadable"
    if frames == 0:
        return "empty"
    seen.add(digest)
    return None
