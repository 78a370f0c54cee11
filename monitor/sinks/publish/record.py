"""The form of published records, which monitors send and collectors check: form 1.

One message is one record, a JSON object in UTF-8:

    {"form": 1, "monitor": "yard", "epoch": "3f9c...", "sequence": 17, "type": "event",
     "sent": "2026-11-30T21:00:00.123Z", "record": {...}}

Sequence numbers are consecutive from 1 in every epoch, which is a new database.  The
same number may come twice; so may an event in two epochs, when a database was set
aside: both have the same id.
"""

import binascii
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic import ValidationError as _Invalid
from pydantic_core import PydanticCustomError

from monitor.clock import is_plausible
from monitor.config.publish import MONITOR
from monitor.errors import SoundMonitorError
from monitor.text import utc_text

FORM = 1
LARGEST_BYTES = 256 * 1024  # of a message

MOST_RANGES, MOST_SEQUENCES = 20, 10_000
"""Bounds of a request, which has 1000 bytes at most: a range has 44."""

_MOST = 2**63 - 1  # what databases take
_AHEAD, _WRONG_TIME = timedelta(days=1), "wrong_time"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)

Reason = Literal[
    "too-large",
    "not-json",  # no JSON object in UTF-8, or a number or letter that none may hold
    "envelope",  # the keys around the record
    "monitor",  # another monitor than its topic says
    "incomplete",  # the record lacks a key that its type needs
    "wrong-value",  # wrong type, out of range, too long
    "wrong-time",  # before 2000, after 2100, or a day ahead of the collector
    "too-old",  # older than the collector keeps
]
"""Why a message is refused."""


class RecordError(SoundMonitorError):
    """A message that is refused; its text is one sentence."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason: Reason = reason
        self.message: RecordMessage | None = None  # if its contents alone are refused


def _time(value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(_TIME.fullmatch(value)[0])  # type: ignore
    except (TypeError, ValueError):
        raise ValueError("is no time in UTC, as 2026-11-30T21:00:00.123Z") from None
    if not is_plausible(moment):
        raise PydanticCustomError(_WRONG_TIME, "is not between 2000 and 2100")
    return moment


def _base64(text: str) -> str:
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise ValueError("is not base64") from None
    return text


_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Text = Annotated[str, Field(max_length=10_000)]
_Count = Annotated[int, Field(ge=0, le=_MOST)]
_Positive = Annotated[int, Field(ge=1, le=_MOST)]
_Sequence = Annotated[int, Field(ge=1, le=2**53)]  # no sum over epochs overflows
_Last = Annotated[int, Field(ge=0, le=2**53)]
_Number = Annotated[float, Field(ge=-1e12, le=1e12)]  # no sum of them overflows
_Seconds = Annotated[float, Field(ge=0, le=1e9)]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Time = Annotated[datetime, BeforeValidator(_time)]
_LabelScore = Annotated[tuple[_Name, _Share | None], Field(strict=False)]
_Range = Annotated[tuple[_Positive, _Positive], Field(strict=False)]
_Epoch = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]
_P = TypeVar("_P", bound="Contents")
_Monitor = Annotated[str, Field(pattern=rf"^{MONITOR}$")]
_Type = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]


class Contents(BaseModel):
    """A checked object; what it does not know is ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class _Envelope(Contents):
    form: _Positive
    monitor: _Monitor
    epoch: _Epoch
    sequence: _Sequence
    type: _Type
    sent: _Time
    record: dict[str, Any]


class PreviousEpoch(Contents):
    """The epoch before, whose database was set aside, and its last sequence number."""

    epoch: _Epoch
    last: _Last


class SessionRecord(Contents):
    """A run of the monitor begins; `labels` is the order of the scores."""

    session: _Name
    model: _Text
    labels: Annotated[list[_Name], Field(max_length=5000)]
    sample_rate: _Positive
    started: _Time | None  # None: the clock of the machine was not set yet
    version: _Name
    site: Annotated[str, Field(max_length=200)] | None = None
    previous: PreviousEpoch | None = None


class _Interval(Contents):
    """What events, gaps and health share: see docs/records.md."""

    session: _Name
    id: _Name
    source: _Name
    start: _Time | None
    end: _Time | None
    start_sample: _Count
    stop_sample: _Count | None
    start_seconds: _Number | None
    end_seconds: _Number | None


class OccurrenceRecord(_Interval):
    """An onset or an event; unknown scores and levels are None."""

    label: _Name
    peak_score: _Share | None
    mean_score: _Share | None
    level_dbfs: _Number | None
    laeq_db: _Number | None
    lafmax_db: _Number | None = None
    level_offset_db: _Number | None = None  # 0: A-weighted levels are re full scale
    end_reason: _Name | None
    top: Annotated[list[_LabelScore], Field(max_length=20)]
    model: _Text


class GapRecord(_Interval):
    """Samples were lost; `end_reason` says why."""

    end_reason: _Name
    left_out_seconds: _Seconds | None = None


class HealthRecord(_Interval):
    """A health problem of a source, or of the monitor ("*"), was raised or cleared."""

    kind: _Name
    state: Literal["raised", "cleared"]
    detail: _Text


class ScoresRecord(Contents):
    """About a minute of score frames and levels; `data` as in sinks/store/scores.py.

    A later record with the same session, source and `start_sample` has more frames, and
    replaces the earlier one.
    """

    session: _Name
    source: _Name
    start: _Time
    end: _Time
    start_sample: _Count
    window_samples: Annotated[int, Field(ge=1, le=2**31)]
    hop_samples: Annotated[int, Field(ge=1, le=2**31)]
    frames: Annotated[int, Field(ge=1, le=2000)]
    format: _Positive
    data: Annotated[str, AfterValidator(_base64)]
    """Base64."""


class SourceDigest(Contents):
    """A source as its monitor's status document has it."""

    name: _Name
    state: _Name
    listening: bool | None = None
    listened_24h: _Share | None = None
    laeq_unit: _Name | None = None


class TroubleDigest(Contents):
    """A health problem that goes on."""

    source: _Name
    kind: _Name
    since: _Time | None = None
    detail: _Text = ""


class DigestRecord(Contents):
    """How the monitor is; `last` is the newest sequence number of its epoch."""

    last: _Last
    clock: _Time
    """Time of the monitor's clock when the digest was made."""

    uptime_seconds: _Seconds | None = None
    listening: bool | None = None
    sources: Annotated[list[SourceDigest], Field(max_length=1000)] = []
    health: Annotated[list[TroubleDigest], Field(max_length=1000)] = []
    model: _Text | None = None
    bundle: _Name | None = None
    version: _Name | None = None
    site: Annotated[str, Field(max_length=200)] | None = None


class DeletedRecord(Contents):
    """A record was deleted before it was sent: its type and time; None: unknown."""

    type: _Type | None = None
    at: _Time | None = None


TYPES: Mapping[str, type[Contents]] = {
    "session": SessionRecord,
    "onset": OccurrenceRecord,
    "event": OccurrenceRecord,
    "gap": GapRecord,
    "health": HealthRecord,
    "scores": ScoresRecord,
    "digest": DigestRecord,
    "deleted": DeletedRecord,
}


@dataclass(frozen=True, slots=True)
class RecordMessage:
    """A record with its envelope, checked."""

    form: int
    monitor: str
    epoch: str
    sequence: int
    type: str
    sent: datetime
    record: dict[str, Any] = field(repr=False)
    """As it came, with keys that this version does not know; a JSON document that every
    database takes: finite numbers, no NUL, no lone surrogate."""

    contents: Contents | None
    """The checked record; None: its form or its type is unknown here."""

    @property
    def is_newer(self) -> bool:
        """True if a newer version sent it in a form that is unknown here."""
        return self.form > FORM


def encode_message(
    monitor: str,
    epoch: str,
    sequence: int,
    kind: str,
    record: Mapping[str, object],
    sent: datetime,
) -> bytes:
    """Encode one message.

    Raises:
        RecordError: It would be too large; the publisher sends `deleted` in its place.
    """
    document = {
        "form": FORM,
        "monitor": monitor,
        "epoch": epoch,
        "sequence": sequence,
        "type": kind,
        "sent": utc_text(sent),
        "record": record,
    }
    payload = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    if len(payload) > LARGEST_BYTES:
        raise RecordError("too-large", f"a record of type {kind} is too large")
    return payload


def decode_message(payload: bytes, monitor: str, now: datetime) -> RecordMessage:
    """Decode and check a message.

    Args:
        payload: As it came, from anybody.
        monitor: The monitor that its topic or subject names.
        now: Time of the collector's clock, UTC.

    Raises:
        RecordError: It is refused.
    """
    document = _parse(payload)
    envelope = _checked(_Envelope, document, "envelope")
    _refuse_future(envelope, now)
    if envelope.monitor != monitor:
        raise RecordError("monitor", f"it names {envelope.monitor}, not {monitor}")
    # `_Envelope` has the keys of `RecordMessage` but for the last.
    message = RecordMessage(**dict(envelope), contents=None)
    if message.form != FORM or (kind := TYPES.get(message.type)) is None:
        return message
    try:
        checked = _checked(kind, message.record, "wrong-value")
        _refuse_future(checked, now)
    except RecordError as error:
        error.message = message
        raise
    return replace(message, contents=checked)


def _parse(payload: bytes) -> Any:
    if len(payload) > LARGEST_BYTES:
        raise RecordError("too-large", f"it has {len(payload)} bytes")
    try:
        document = json.loads(
            payload.decode(), parse_constant=_finite, parse_float=_finite
        )
        if b"\\u" in payload:
            # Escapes may stand for letters that no database takes.
            text = json.dumps(document, ensure_ascii=False)
            text.encode()
            if "\\u0000" in text.replace("\\\\", ""):
                raise ValueError("it contains NUL")
    except (ValueError, RecursionError) as error:
        raise RecordError("not-json", f"it is no JSON: {error!s:.80}") from None
    if not isinstance(document, dict):
        raise RecordError("not-json", "it is no JSON object")
    return document


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text:.20} is no number")
    return value


def _checked(kind: type[_P], values: object, otherwise: Reason) -> _P:
    try:
        return kind.model_validate(values)
    except _Invalid as invalid:
        error = invalid.errors(include_url=False, include_context=False)[0]
        key = ".".join(map(str, error["loc"]))
        found: Reason = otherwise
        if error["type"] == _WRONG_TIME:
            found = "wrong-time"
        elif error["type"] == "missing" and otherwise != "envelope":
            found = "incomplete"
        text = error["msg"].partition(", ")[2] or error["msg"]
        raise RecordError(found, f"{key:.60}: {text:.100}") from None


def _refuse_future(part: Contents, now: datetime) -> None:
    for key, value in part:
        if isinstance(value, datetime) and value > now + _AHEAD:
            text = f"{key}: {utc_text(value)} is more than a day ahead"
            raise RecordError("wrong-time", text)


def encode_wanted(epoch: str, ranges: Sequence[tuple[int, int]]) -> bytes:
    """Encode a collector's request for the sequences first..last, both included."""
    return json.dumps({"epoch": epoch, "ranges": ranges}).encode()


class _Wanted(Contents):
    epoch: _Epoch
    ranges: Annotated[list[_Range], Field(max_length=MOST_RANGES)]


def decode_wanted(payload: bytes) -> tuple[str, list[tuple[int, int]]]:
    """Decode a collector's request: the epoch, and ranges first..last.

    Raises:
        RecordError: It is none.
    """
    wanted = _checked(_Wanted, _parse(payload), "wrong-value")
    return wanted.epoch, [(first, last) for first, last in wanted.ranges]
