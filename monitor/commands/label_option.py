"""The option --label of the history: labels, groups of them, and unknown names."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

from monitor.commands.arguments import option
from monitor.errors import ModelFileError, UsageError

if TYPE_CHECKING:
    from monitor.config.config import Config
    from monitor.model.card import ModelCard
    from monitor.sinks.store.queries import Reader

LabelsOption = Annotated[
    list[str] | None,
    option("LABEL", "Only this label or group; may be repeated.", "--label"),
]


def chosen_labels(
    names: Sequence[str] | None, config: "Config", reader: "Reader | None"
) -> tuple[str, ...]:
    """Add to each group its members, as the models have them; none: all labels.

    Args:
        names: Values of --label.
        config: Its models count, and the included ones.
        reader: The database, which may have labels of other models; None: there is
            none.

    Raises:
        UsageError: Neither a model nor the database knows one of the names.
    """
    if not names:
        return ()
    from monitor.model.catalogue import known_labels, members_of, nearest

    cards = list(_cards(config))
    known = dict.fromkeys(label for card in cards for label in known_labels(card))
    if reader is not None and not known.keys() >= {*names}:
        # Only now, for the database looks through all of its events.
        known = dict.fromkeys(reader.labels()) | known
    found: dict[str, None] = {}
    for name in names:
        if name not in known:
            raise UsageError(
                f"--label: {name!r} is a label neither of the database nor of a model; "
                f"{nearest(name, list(known))}"
            )
        members = (it for card in cards for it in members_of(card, name))
        found |= dict.fromkeys((name, *members))
    return tuple(found)


def _cards(config: "Config") -> Iterator["ModelCard"]:
    from monitor.model.card import INCLUDED, read_card

    for model in dict.fromkeys((*config.model_files, *INCLUDED)):
        # What was stored can be read without the model that has detected it.
        with suppress(ModelFileError):
            yield read_card(model).card
