"""What holds for every test: nothing hypothesis does is timed, because a busy machine is not a defect.

And the table of the fault catalogue, printed here because only this file is read by the process that prints.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.whole.catalogue.report import Catalogue

settings.register_profile("batcher", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("batcher"), max_examples=1_000)
settings.load_profile("batcher")


@pytest.fixture(scope="session")
def _states() -> Iterator[Iterator[Path]]:
    """State folders, one after the other: a short path each, for a socket has to fit, and made by whoever uses it."""
    root = Path(tempfile.mkdtemp(prefix="state-"))
    yield (root / str(n) for n in itertools.count())
    shutil.rmtree(root)


@pytest.fixture(autouse=True)
def state_home(monkeypatch: pytest.MonkeyPatch, _states: Iterator[Path]) -> Path:
    """No test shares quotas with another, or with whoever runs the tests."""
    state = next(_states)
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    return state


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Catalogue(), "fault-catalogue")
