import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.datasets.served import versions_served
from batcher.errors import StorageError

VERSIONS = st.lists(st.none() | st.sampled_from(["a-001", "b-002", "c" * 100]), max_size=12)


@given(versions=VERSIONS, group=st.integers(1, 5), statistics=st.booleans())
@settings(max_examples=40)
def test_every_version_is_found_once(tmp_path_factory, versions, group, statistics):
    part = tmp_path_factory.mktemp("served") / "part.parquet"
    table = pa.table({"x": [{"model_version": 1}] * len(versions), "model_version": pa.array(versions, pa.string())})
    pq.write_table(table, part, row_group_size=group, write_statistics=statistics)
    assert versions_served([part, part]) == tuple(sorted({version for version in versions if version}))


def test_a_damaged_part_is_named(tmp_path):
    (tmp_path / "part.parquet").write_bytes(b"x")
    with pytest.raises(StorageError, match=r"part\.parquet"):
        versions_served([tmp_path / "part.parquet"])
