"""A reader of the live feed has a bounded backlog, and is dropped if it stalls."""

import json
import socket

from monitor.sinks import live_readers
from monitor.sinks.live_readers import Reader


def test_a_reader_that_lags_is_told_how_much_it_missed() -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    reader = Reader(near)
    line = json.dumps({"type": "event", "label": "x" * 1000}).encode() + b"\n"
    given = 0
    while given * len(line) < 4 * live_readers.MOST_BYTES:
        reader.give([line] * 10)
        given += 10
        assert reader.send(0.0)
    assert reader.is_behind
    far.setblocking(False)
    found = b""
    while reader.is_behind:
        found += far.recv(2**20)
        assert reader.send(1.0)
    reader.give([line])
    assert reader.send(1.0)
    far.settimeout(1.0)
    while not found.endswith(b"\n") or b"dropped" not in found:
        found += far.recv(2**20)
    kinds = [json.loads(each) for each in found.splitlines()]
    (dropped,) = [each for each in kinds if each["type"] == "dropped"]
    assert len(kinds) - 1 + dropped["count"] == given + 1
    assert kinds.index(dropped) == len(kinds) - 2
    reader.close()
    far.close()


def test_lines_are_sent_together() -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reader = Reader(near)
    reader.give([b"%d\n" % number for number in range(50)])
    assert reader.send(0.0)
    assert far.recv(2**16).split() == [b"%d" % number for number in range(50)]
    assert not reader.is_behind
    reader.close()
    far.close()


def test_a_reader_that_is_gone_or_stalls_is_noticed() -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    reader = Reader(near)
    big = b"x" * 1000
    while not reader.is_behind:
        reader.give([big])
        assert reader.send(5.0)
    assert reader.send(5.0 + 0.9 * live_readers.STALLED_SECONDS)
    assert not reader.send(5.0 + live_readers.STALLED_SECONDS)
    far.close()
    assert not Reader(near).is_behind
    reader.give([big])
    assert not reader.send(0.0)
    reader.close()
