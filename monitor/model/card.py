"""What a model file says of its model, readable without torch."""

from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from monitor.errors import ModelFileError
from monitor.model.header import (
    Header,
    ModelPath,
    first_fault,
    open_model_file,
    parse_json,
    read_header,
)
from monitor.spec import ModelSpec

FORMAT = "sound-monitor model 1"
"""Value of the metadata key `format`."""

Score = Annotated[float, Field(gt=0, lt=1)]
# These are printed: they must not carry control characters to a terminal.
Word = Annotated[str, Field(pattern=r"^\w[\w .+/-]*$", max_length=63)]

_Part = TypeVar("_Part", bound=BaseModel)


class _CardPart(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )


class Thresholds(_CardPart):
    """Where the scores of one label begin and end events, and what that costs."""

    onset: Score
    """Score at or above which the label may begin."""

    offset: Score
    """Score below which it may end."""

    false_alarms_per_hour: Annotated[float, Field(ge=0)] | None = None
    """Measured at these thresholds on sounds of no label; null: not measured."""

    @model_validator(mode="after")
    def _are_ordered(self) -> "Thresholds":
        if self.offset > self.onset:
            raise ValueError(f"offset {self.offset} is above onset {self.onset}")
        return self


class ModelCard(_CardPart):
    """What a model is, how it was made and what it was measured to do."""

    name: Word
    """Name in records."""

    preset: Word
    """The network, by its name in `monitor.model.network.PRESETS`."""

    labels: Annotated[tuple[Word, ...], Field(min_length=1, max_length=1000)]
    """What the scores stand for, in their order."""

    total_stride: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Frames from one column of the activity to the next; hops are multiples of it.
    Written from the network when the model is saved."""

    thresholds: dict[str, Thresholds] = {}
    """By label; a label without them takes those of its detection preset."""

    temperatures: dict[str, Annotated[float, Field(ge=0.01, le=100)]] = {}
    """By label, 1 where there is none: logits are divided by it before the sigmoid."""

    report: dict[str, Any] = {}
    """What the test of the model measured."""

    licence: Annotated[str, Field(max_length=10_000)] = ""
    """Terms under which the training data lets the model be used."""

    created: Annotated[str, Field(max_length=100)] = ""
    """When it was made, ISO 8601 in UTC."""

    training: dict[str, Any] = {}
    """The settings of the training."""

    @model_validator(mode="after")
    def _labels_are_consistent(self) -> "ModelCard":
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("labels: two of them are the same")
        for key in ("thresholds", "temperatures"):
            foreign = sorted(set(getattr(self, key)) - set(self.labels))
            if foreign:
                raise ValueError(f"{key}: {foreign[0]!r} is not one of the labels")
        return self


class Description(NamedTuple):
    """The two documents in the metadata of a model file."""

    spec: ModelSpec
    card: ModelCard


def read_card(path: ModelPath) -> Description:
    """Read spec and card of a model file; None is the one of the program.

    Imports no torch, and reads no weights: `load_model` may still refuse the file.

    Raises:
        ModelFileError: The file is missing, foreign or damaged.
    """
    with open_model_file(path) as (file, origin):
        return describe(read_header(file, origin), origin)


def describe(header: Header, origin: str) -> Description:
    """Spec and card of a model file's header.

    Raises:
        ModelFileError: It is not the header of a model file, or breaks a rule.
    """
    if header.metadata.get("format") != FORMAT:
        raise ModelFileError(
            f"{origin}: is a safetensors file, but not a model of this program "
            f"(its format is {header.metadata.get('format', 'not given')!r:.40}, "
            f"not {FORMAT!r})"
        )
    spec = _parse(header, "spec", ModelSpec, origin)
    return Description(spec, _parse(header, "card", ModelCard, origin))


def _parse(header: Header, key: str, kind: type[_Part], origin: str) -> _Part:
    try:
        return kind.model_validate(parse_json(header.metadata.get(key, "")))
    except ValidationError as error:
        fault = first_fault(error)
    except OverflowError:
        fault = "holds a number beyond all reason"
    except ValueError as error:
        fault = f"is not JSON ({error})"
    raise ModelFileError(f"{origin}: {key}: {fault}")
