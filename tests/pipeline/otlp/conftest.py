"""The two ways to read protobuf requests, for tests that hold for both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.otlp import protobuf


@pytest.fixture(scope="module", params=["as small", "as large"])
def both_readings(request: pytest.FixtureRequest) -> Iterator[None]:
    """Read every request as a small one, and once more as a large one, whatever its size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protobuf, "LARGE", 0 if request.param == "as large" else 1 << 40)
        patch.setattr(protobuf, "MANY", 1)
        yield
