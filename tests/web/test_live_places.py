"""Nobody takes every live place: the owner comes first, then who has few."""

import asyncio

import pytest

from monitor.web.live import LiveFeed, Visitor

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
            network = "192.0.2.1" if shared == "network" else f"192.0.2.{number}"
            session = "ann" if shared == "session" else f"ann{number}"
            assert feed.admit(every, every, Visitor(network, session, False))
        assert feed.admit(every, every, Visitor("192.0.2.99", "ben", False))
        await feed.close()

    asyncio.run(run())
