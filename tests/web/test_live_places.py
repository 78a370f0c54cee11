"""Nobody takes every live place: the owner comes first, then who has few."""

import asyncio

import pytest

from monitor.web.live import LiveFeed
from monitor.web.viewers import Viewer, Visitor, greediest

PLACES = 4
ANN, BEN = Visitor("192.0.2.1", "ann", False), Visitor("192.0.2.2", "ben", False)
OWNER = Visitor("192.0.2.3", "owner", True)


@pytest.mark.parametrize(
    ("present", "newcomer", "remaining"),
    [
        # Letters are places: of ann and ben, who only look, and of the owner.
        ("aaaa", "o", "aaao"),
        ("aaaa", "b", "aaab"),
        ("aaab", "b", "aabb"),
        ("aabb", "b", None),
        ("aabb", "a", None),
        ("abbb", "o", "abbo"),
        ("aooo", "o", "oooo"),
        ("aooo", "b", None),
        ("oooo", "a", None),
        ("oooo", "o", None),
    ],
)
def test_a_place_is_taken_from_who_has_the_most(
    present: str, newcomer: str, remaining: str | None
) -> None:
    visitors = {"a": ANN, "b": BEN, "o": OWNER}

    async def run() -> None:
        feed = LiveFeed((), PLACES)
        every = frozenset[str]()
        admitted = [feed.admit(every, every, visitors[each]) for each in present]
        admitted.append(feed.admit(every, every, visitors[newcomer]))
        there = [each for each in admitted if each is not None and not each.is_over]
        names = sorted(
            name
            for each in there
            for name in visitors
            if visitors[name] == each.visitor
        )
        assert "".join(names) == (remaining or present)
        await feed.close()

    asyncio.run(run())


@pytest.mark.parametrize("shared", ["network", "session"])
def test_many_sessions_of_an_address_count_together_and_so_do_many_addresses_of_one(
    shared: str,
) -> None:
    async def run() -> None:
        feed = LiveFeed((), PLACES)
        every = frozenset[str]()
        for number in range(PLACES):
            address = "192.0.2.1" if shared == "network" else f"192.0.2.{number}"
            session = "ann" if shared == "session" else f"ann{number}"
            assert feed.admit(every, every, Visitor(address, session, False))
        assert feed.admit(every, every, Visitor("192.0.2.99", "ben", False))
        await feed.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("newcomer", "is_admitted"),
    [
        (Visitor("2001:db8::2", "ben", False), True),
        (Visitor("192.0.2.1", "ben", False), True),
        (Visitor("2001:db8::1", "owner", True), True),
        (Visitor("2001:db8::1", "ben", False), False),
    ],
)
def test_who_signs_in_often_takes_places_at_the_same_address_alone(
    newcomer: Visitor, *, is_admitted: bool
) -> None:
    async def run() -> None:
        feed = LiveFeed((), PLACES)
        every = frozenset[str]()
        other = feed.admit(every, every, Visitor("2001:db8::3", "cat", False))
        for number in range(PLACES - 1):
            assert feed.admit(
                every, every, Visitor("2001:db8::1", f"ann{number}", False)
            )
        admitted = feed.admit(every, every, newcomer)
        assert (admitted is not None) == is_admitted
        assert other is not None
        assert not other.is_over, "it has one place alone"
        await feed.close()

    for _ in range(20):  # viewers have no order
        asyncio.run(run())


def test_no_place_goes_to_and_fro() -> None:
    every = frozenset[str]()
    crowd = [
        Viewer(Visitor(f"2001:db8::{number}", f"{number}", False), every, every)
        for number in range(6)
    ]
    other = Visitor("192.0.2.1", "ben", False)
    pair = [Viewer(other, every, every) for _ in range(2)]
    # They have two places of an address, but their network has fewer.
    assert greediest(crowd + pair, Visitor("2001:db8::9", "9", False)) is None
    assert greediest(crowd + pair[:1], other) in crowd
