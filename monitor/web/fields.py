"""The fields of a form in the query of an address, and which of them is wrong."""

from datetime import date

from starlette.requests import Request

from monitor.web.rendering import language_of, translation

_FIRST_YEAR, _LAST_YEAR = 1990, 2200


class Fields:
    """Reads the fields of a form; a wrong one is read as if it were empty."""

    def __init__(self, request: Request, section: str) -> None:
        """Read the query of a request; `section` of the strings names its fields."""
        self._query, self._section = request.query_params, section
        self._translate = translation(language_of(request))
        self.problem = ""
        """A sentence about the first field that is wrong; empty: none is."""

    def text(self, key: str, longest: int) -> str:
        """Read a text; what is longer is cut."""
        return self._query.get(key, "")[:longest]

    def day(self, key: str, otherwise: date) -> date:
        """Read a date, as forms send it."""
        text = self._query.get(key)
        if not text:
            return otherwise
        try:
            day = date.fromisoformat(text)
        except ValueError:
            day = date.min
        if _FIRST_YEAR <= day.year <= _LAST_YEAR:
            return day
        years = {"first": _FIRST_YEAR, "last": _LAST_YEAR}
        self.reject(key, "day", value=text[:40], **years)
        return otherwise

    def number(self, key: str, most: int) -> int | None:
        """Read a whole number; None: there is none."""
        text = self._query.get(key)
        if not text:
            return None
        if text.isascii() and text.isdecimal() and len(text) <= 4 and int(text) <= most:
            return int(text)
        self.reject(key, "number", value=text[:40], most=most)
        return None

    def reject(self, key: str, kind: str, **values: object) -> None:
        """Say what is wrong with a field; `kind` is a key in `error.fields`."""
        name = self._translate(f"{self._section}.{key}")
        rule = self._translate(f"error.fields.{kind}", **values)
        self.problem = self.problem or f"{name}: {rule}"
