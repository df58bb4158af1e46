from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.client.cells import short_waits


@pytest.fixture(autouse=True)
def _short_waits() -> Iterator[None]:
    """Between attempts: what is waited for is tested where the waiting is the point."""
    with short_waits():
        yield
