"""A source that is there and delivers nothing is told from one that is gone."""

from itertools import groupby

from monitor.errors import SourceError
from tests.audio.test_capture import run_capture
from tests.support.scripted_source import Steady


def test_a_source_that_stalls_on_when_it_is_opened_again_is_stalled() -> None:
    stall = SourceError("delivered nothing", is_stall=True)
    away = [[SourceError("gone")], [stall]]
    captured = run_capture([[Steady(5.0), stall], [stall], *away, [Steady(1.0)]])
    reasons = [reason for reason, _ in groupby(gap.reason for gap in captured.gaps)]
    assert reasons == ["stalled", "unplugged"]
    (first, *_) = captured.gaps
    assert first.stop - first.start > 0
