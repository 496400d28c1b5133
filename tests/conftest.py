"""What holds for every test: nothing hypothesis does is timed, because a busy machine is not a defect."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("batcher", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("batcher")
