"""What holds for every test: examples are not timed, because a busy machine is not a defect."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("batcher", deadline=None)
settings.load_profile("batcher")
