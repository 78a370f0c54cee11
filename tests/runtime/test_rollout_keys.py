"""What only a removed key has signed is left, and bundles are known by content."""

import pytest

from monitor.runtime.rollout_state import RolloutState
from tests.support.bundles import OTHER_KEY, public
from tests.support.rollout import WATCH_SECONDS, Fleet


def test_numbers_that_a_removed_key_used_up_are_free_again(fleet: Fleet) -> None:
    keys = (public(), public(OTHER_KEY))
    fleet.begin(keys=keys)
    fleet.offer(1_000_000_000, share=1e-9, key=OTHER_KEY)
    fleet.step()
    fleet.offer(13)
    fleet.step()
    assert "was seen" in fleet.shown["refused"]
    fleet.begin()
    fleet.step()
    assert fleet.shown["bundle"] == "13"


def kept(fleet: Fleet, version: int) -> None:
    """Have a bundle taken, which passes its trial."""
    fleet.tried(version)
    fleet.step(1.0)
    fleet.step(WATCH_SECONDS)
    assert (fleet.shown["bundle"], fleet.shown["on_trial"]) == (str(version), False)


@pytest.mark.parametrize("is_on_trial", [True, False])
def test_a_bundle_whose_key_is_removed_is_left_for_one_of_the_same_number(
    fleet: Fleet, *, is_on_trial: bool
) -> None:
    kept(fleet, 12)
    fleet.begin(keys=(public(OTHER_KEY),))
    fleet.step()
    assert fleet.shown["bundle"] is None
    assert fleet.folder.read() == RolloutState()
    assert not (fleet.folder.path / "12.json").exists()
    fleet.begin()
    fleet.tried(13) if is_on_trial else kept(fleet, 13)
    fleet.begin(keys=(public(OTHER_KEY),))
    fleet.offer(13, {"detection": {"sensitivity": 0.9}}, key=OTHER_KEY)
    fleet.step()
    assert (fleet.shown["bundle"], fleet.shown["on_trial"]) == ("13", True)
    assert "0.9" in (fleet.folder.path / "13.json").read_text()


def test_what_a_removed_key_had_rolled_back_does_not_count_against_another_bundle(
    fleet: Fleet,
) -> None:
    fleet.tried(13)
    fleet.step(1.0)
    fleet.see(("overload", "*"))
    fleet.begin(keys=(public(OTHER_KEY),))
    fleet.offer(13, {"detection": {"sensitivity": 0.9}}, key=OTHER_KEY)
    fleet.step()
    assert (fleet.shown["bundle"], fleet.shown["on_trial"]) == ("13", True)


def test_a_bundle_signed_again_with_a_new_key_stays(fleet: Fleet) -> None:
    kept(fleet, 12)
    fleet.begin(keys=(public(), public(OTHER_KEY)))
    fleet.offer(12, key=OTHER_KEY)
    fleet.step()
    fleet.begin(keys=(public(OTHER_KEY),))
    fleet.step()
    assert (fleet.shown["bundle"], fleet.shown["on_trial"]) == ("12", False)
    assert (fleet.checked, fleet.reloads) == ([12], 1)
