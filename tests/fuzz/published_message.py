"""The reader of published records, as a target of the fuzzing: anybody may send one."""

import json
import random
from datetime import UTC, datetime
from pathlib import Path

from monitor.sinks.publish.queue import Queue
from monitor.sinks.publish.record import (
    RecordError,
    decode_message,
    decode_wanted,
    encode_message,
    encode_wanted,
)
from tests.support.fuzzing import damaged, one_sentence, twisted
from tests.support.publishing import published_store
from tests.support.store import score_frames
from tests.support.timed import OPENED, event, gap, onset

EPOCH = "ab" * 16
NOW = datetime(2099, 1, 1, tzinfo=UTC)


class PublishedMessage:
    """`decode_message` and `decode_wanted`."""

    def __init__(self, folder: Path) -> None:
        path = folder / "monitor.db"
        store = published_store(path)
        store.write([onset(number=1), event(number=1), gap()])
        store.write(score_frames(30))
        store.close()
        queue = Queue(path)
        position = queue.position("", 0)
        assert position is not None
        self._seeds = [
            encode_message("yard", EPOCH, it.sequence, it.type, it.record, OPENED)
            for it in queue.entries(position.epoch, 1, position.newest)
        ]
        queue.close()
        self._seeds.append(encode_wanted(EPOCH, [(1, 3), (9, 9)]))

    def make(self, rng: random.Random) -> bytes:
        seed = rng.choice(self._seeds)
        if rng.random() < 0.3:
            return damaged(seed, rng)
        return json.dumps(twisted(json.loads(seed), rng)).encode()

    def try_out(self, example: object) -> bool:
        assert isinstance(example, bytes)
        accepted = False
        try:
            message = decode_message(example, "yard", NOW)
            accepted = True
            # Every database takes it.
            text = json.dumps(message.record, allow_nan=False, ensure_ascii=False)
            assert "\\u0000" not in text
            text.encode()
        except RecordError as error:
            one_sentence(error)
        try:
            decode_wanted(example)
            accepted = True
        except RecordError as error:
            one_sentence(error)
        return accepted
