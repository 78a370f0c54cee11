"""The reader of bundles, as a target of the fuzzing: also of what is signed."""

import json
import random
from pathlib import Path

from monitor.config.config import Config
from monitor.errors import SoundMonitorError
from monitor.runtime.bundle_file import read_bundle
from monitor.runtime.rollout_state import bundle_folder
from tests.support.bundles import made, public, signed
from tests.support.fuzzing import damaged, one_sentence, twisted

SETTINGS = {
    "models": ["bundle", "world"],
    "labels": ["siren", "alarm"],
    "detection": {
        "sensitivity": 0.6,
        "labels": {"siren": {"onset_threshold": 0.7, "smoothing_hops": 2}},
    },
    "health": {"deaf_seconds": 30.0, "ignore": ["dead-channel"]},
    "canary": {"every_seconds": None, "label": "siren"},
}


class BundleFile:
    """`read_bundle`, and the settings of what it accepts."""

    def __init__(self, folder: Path) -> None:
        self._path, self._folder = folder / "bundle", bundle_folder(folder)
        self._seed = made(self._path, 12, SETTINGS, b"weights").read_bytes()

    def make(self, rng: random.Random) -> bytes:
        if rng.random() < 0.3:
            return damaged(self._seed, rng)
        line, model = self._seed.split(b"\n", 3)[3].split(b"\n", 1)
        if rng.random() < 0.3:
            line = damaged(line, rng)
        else:
            line = json.dumps(twisted(json.loads(line), rng)).encode()
        return signed(self._path, line + b"\n" + model).read_bytes()

    def try_out(self, example: object) -> bool:
        assert isinstance(example, bytes)
        self._path.write_bytes(example)
        try:
            bundle = read_bundle(self._path, (public(),))
            self._folder.install(self._path, bundle)
            self._folder.merged(Config(), bundle.manifest.version)
        except SoundMonitorError as error:
            one_sentence(error)
            return False
        return True
