"""What holds for every test: nothing hypothesis does is timed, because a busy machine is not a defect.

And the table of the fault catalogue, printed here because only this file is read by the process that prints.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from tests.whole.catalogue.report import Catalogue

settings.register_profile("batcher", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("batcher"), max_examples=1_000)
settings.load_profile("batcher")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Catalogue(), "fault-catalogue")
