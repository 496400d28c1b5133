"""One collector for all runs of a process: the last one that leaves puts it back."""

import gc

from batcher.engine.quiet import quiet_collector


def test_the_collector_is_put_back_by_the_last_run_that_leaves():
    before = gc.get_threshold()
    first, second = quiet_collector(), quiet_collector()
    first.__enter__()
    during = gc.get_threshold()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold() == during != before
    second.__exit__(None, None, None)
    assert gc.get_threshold() == before
