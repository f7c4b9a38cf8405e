"A bar that nobody watches is drawn seldom."
import contextlib
import io
import time

import pytest

from adaptive_dist.config import progress

@pytest.mark.parametrize("watched, least, most", [(True, 4, 6), (False, 2, 2)])
def test_how_often_a_bar_is_drawn(monkeypatch: pytest.MonkeyPatch, watched: bool, least: int,
                                  most: int) -> None:
    "Into a file: once when it begins, and once when it ends."
    monkeypatch.setattr(progress, "watched", lambda: watched)
    written = io.StringIO()
    with (contextlib.redirect_stderr(written),
          progress.progress_bar(description="steps", unit="step", total=4) as bar):
        for _ in range(4):
            time.sleep(.15)
            bar.update()
    drawn = [line for line in written.getvalue().strip("\r\n").split("\r") if line]
    assert least <= len(drawn) <= most
    assert "4/4" in drawn[-1]
