import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.engine.tokenscale import read_learnt, write_learnt
from batcher.pacing.quota import Learnt, TokenScale
from batcher.store.rundir import RunDir


@pytest.fixture
def rundir(tmp_path):
    found = RunDir.at(tmp_path / "out")
    found.make()
    return found


def taught(*pairs):
    scale = TokenScale()
    for estimate, actual in pairs:
        scale.learn(estimate, actual)
    return scale


def test_what_was_learnt_is_read_back(rundir):
    learnt = {"a lane": taught((100, 150), (30, 40)).learnt, "another": taught((7, 7)).learnt}
    write_learnt(rundir, learnt)
    assert read_learnt(rundir) == learnt


def test_of_nothing_nothing_is_written(rundir):
    write_learnt(rundir, {})
    assert not rundir.tokens.exists()
    assert read_learnt(rundir) == {}


@given(st.lists(st.tuples(st.integers(1, 5_000), st.integers(1, 20_000)), min_size=1, max_size=30))
def test_a_scale_goes_on_where_it_was(pairs):
    before = taught(*pairs)
    after = TokenScale(before.learnt)
    assert (after.ratio, after.variance) == (pytest.approx(before.ratio), pytest.approx(before.variance))
    assert after.learnt.replies == min(len(pairs), TokenScale.BEFORE)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"lane": 7}',
        b'{"lane": {"replies": 3}}',
        orjson.dumps({"lane": Learnt(3, 0.0, 1.0, 1.0, 1.0)._asdict()}),
        orjson.dumps({"lane": Learnt(3, 1.0, -1.0, 1.0, 1.0)._asdict()}),
        orjson.dumps({"lane": {**Learnt(3, 1.0, 1.0, 1.0, 1.0)._asdict(), "actual": None}}),
        orjson.dumps({"lane": {**Learnt(3, 1.0, 1.0, 1.0, 1.0)._asdict(), "replies": 2.5}}),
    ],
)
def test_what_makes_no_sense_was_never_learnt(rundir, content):
    rundir.tokens.write_bytes(content)
    assert read_learnt(rundir) == {}


def test_a_folder_that_takes_nothing_does_no_harm(rundir):
    rundir.tokens.mkdir()
    write_learnt(rundir, {"lane": taught((1, 1)).learnt})
    assert read_learnt(rundir) == {}
