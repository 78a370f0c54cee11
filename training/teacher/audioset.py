"""Which classes of AudioSet mean the same as a label: where a teacher knows by name."""

from collections.abc import Mapping, Sequence

from monitor.errors import UsageError

CLASS_COUNT = 527
"""Classes that a network trained on AudioSet tells apart."""

# AudioSet's numbers, in the order of its class_labels_indices.csv.
CLASSES: Mapping[str, tuple[int, ...]] = {
    "air_conditioner": (413,),  # Air conditioning
    "car_horn": (308, 309),  # Vehicle horn, car horn, honking; Toot
    "children_playing": (3, 13, 71),  # Child speech; Children shouting, playing
    "dog_bark": (74, 75),  # Dog; Bark
    "drilling": (425,),  # Drill
    "engine_idling": (352,),  # Idling
    "gun_shot": (427,),  # Gunshot, gunfire
    "jackhammer": (420,),  # Jackhammer
    "siren": (396,),  # Siren
    "street_music": (137,),  # Music
}


def classes_of(
    labels: Sequence[str], outputs: int, chosen: Mapping[str, Sequence[int]] | None
) -> list[tuple[int, ...]]:
    """For each label the teacher's outputs that mean it.

    Args:
        labels: Names.
        outputs: How many classes the teacher tells apart.
        chosen: By label; None: AudioSet's, for a teacher with as many classes.

    Raises:
        UsageError: The teacher has no such output.
    """
    if chosen is None:
        chosen = CLASSES if outputs == CLASS_COUNT else {}
    for label, indices in chosen.items():
        if any(index >= outputs for index in indices):
            raise UsageError(
                f"training.teacher.classes: {label}: the teacher has the outputs 0 to "
                f"{outputs - 1}; not {max(indices)}"
            )
    return [tuple(chosen.get(label, ())) for label in labels]
