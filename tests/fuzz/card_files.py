"""The readers of taught labels and of negatives, as targets of the fuzzing."""

import json
import random
from pathlib import Path

import numpy as np

from monitor.errors import ModelFileError
from monitor.model.negatives import read_negatives, write_negatives
from monitor.model.taught import TaughtCard, TaughtLabel, read_taught, write_taught
from monitor.model.thresholds import Thresholds
from tests.support.fuzzing import damaged, one_sentence, twisted
from tests.support.taught import NETWORK, negatives_for, spectrum_embedder

FEATURES = 8


class CardFiles:
    """`read_taught` and `read_negatives`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "bell.safetensors"
        card = TaughtCard(
            label="bell",
            model="world",
            network=NETWORK,
            clips=5,
            preset="impulsive",
            thresholds=Thresholds(onset=0.5, offset=0.3),
            report={"known": {"Ding": 0.3}},
        )
        weights = np.linspace(-1, 1, FEATURES, dtype=np.float32)
        write_taught(self._path, TaughtLabel(card, weights, 0.5))
        self._seeds = [self._path.read_bytes()]
        write_negatives(self._path, negatives_for(spectrum_embedder(), each=2))
        self._seeds.append(self._path.read_bytes())

    def make(self, rng: random.Random) -> bytes:
        seed = rng.choice(self._seeds)
        length = int.from_bytes(seed[:8], "little")
        header, tensors = seed[8 : 8 + length], seed[8 + length :]
        way = rng.random()
        if way < 0.2:
            return damaged(seed, rng)
        if way < 0.35:
            header = damaged(header, rng)
        elif way < 0.5:
            tensors = damaged(tensors, rng)
        else:
            fields = json.loads(header)
            if way < 0.65:
                fields = twisted(fields, rng)
            else:
                metadata = fields["__metadata__"]
                (key,) = metadata
                metadata[key] = json.dumps(twisted(json.loads(metadata[key]), rng))
            header = json.dumps(fields).encode()
        return len(header).to_bytes(8, "little") + header + tensors

    def try_out(self, example: object) -> bool:
        assert isinstance(example, bytes)
        self._path.write_bytes(example)
        accepted = False
        try:
            taught = read_taught(self._path)
            columns = np.zeros((1, len(taught.weights), 2), np.float32)
            assert np.isfinite(taught.scores(columns)).all()
            accepted = True
        except ModelFileError as error:
            one_sentence(error)
        try:
            negatives = read_negatives(self._path)
            assert negatives.hours > 0
            assert negatives.name_of(int(negatives.kinds[-1]))
            accepted = True
        except ModelFileError as error:
            one_sentence(error)
        return accepted
