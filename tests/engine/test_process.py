"""One collector and one memory pool for all runs of a process: the last one that leaves puts them back."""

import gc
import os

import pyarrow as pa
import pytest

from batcher.engine.process import log_unawaited, of_a_run, of_careful_files
from batcher.job.held import hold


def now():
    return gc.get_threshold(), gc.get_freeze_count() > 0, pa.default_memory_pool().backend_name


def test_what_a_run_changes_is_put_back_by_the_last_run_that_leaves():
    before = now()
    first, second = of_a_run(), of_a_run()
    first.__enter__()
    during = now()
    second.__enter__()
    first.__exit__(None, None, None)
    assert now() == during != before
    second.__exit__(None, None, None)
    assert now() == before


def umask_now():
    now = os.umask(0)
    os.umask(now)
    return now


@pytest.mark.parametrize(("before", "during"), [(0o022, 0o027), (0o000, 0o027), (0o002, 0o027), (0o077, 0o077)])
def test_files_are_not_for_others_while_a_run_makes_some(before, during):
    was = os.umask(before)
    try:
        first, second = of_careful_files(), of_careful_files()
        first.__enter__()
        second.__enter__()
        assert umask_now() == during
        first.__exit__(None, None, None)
        assert umask_now() == during
        second.__exit__(None, None, None)
        assert umask_now() == before
    finally:
        os.umask(was)


async def test_what_nobody_waits_for_is_logged_without_the_key(caplog):
    key = "canary-of-a-task-0123456789"
    hold(key)

    log_unawaited(None, {"message": f"about {key}", "exception": RuntimeError(f"with {key}")})

    assert "about [secret]" in caplog.text
    assert "RuntimeError: with [secret]" in caplog.text
    assert key not in caplog.text
