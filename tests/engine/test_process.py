"""One collector and one memory pool for all runs of a process: the last one that leaves puts them back."""

import gc

import pyarrow as pa

from batcher.engine.process import of_a_run


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
