"""Keeps secrets out of texts that come from sources and programs."""

import re

_USER = re.compile(r"(?<=//)[^/@\s'\"]*@")
_QUERY = re.compile(r"(://[^\s'\"?]*\?)[^\s'\"]+")
_NAMED = re.compile(
    r"((?:password|passwd|secret|token|api[-_]?key|authorization)[=:]\s*(?:basic\s+)?"
    r"(?:bearer\s+)?|bearer\s+)[^\s'\"&,;]+",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """Put *** for users and queries of URLs, and for what is named as a secret.

    The last words of a program may hold the address that it was given.
    """
    text = _USER.sub("***@", text)
    text = _QUERY.sub(r"\1***", text)
    return _NAMED.sub(r"\1***", text)
