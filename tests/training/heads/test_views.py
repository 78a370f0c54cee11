"""Stored views: what is damaged is named."""

from pathlib import Path

import numpy as np
import pytest

from monitor.errors import UsageError
from training.heads.views import _read, _write


@pytest.mark.parametrize("kept", [0, 30, 400])
def test_a_file_that_was_cut_is_named(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "00000.npz"
    _write(path, [{"embedding": np.zeros((40, 8), np.float16)}])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UsageError, match=r"is damaged .* makes it anew"):
        _read([path])
