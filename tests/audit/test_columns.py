"""The audit has its own statement of the columns; it agrees with what is written, and with nothing else."""

import pyarrow as pa
import pytest

from batcher.audit.columns import data_faults, ledger_faults
from batcher.store.schemas import ATTEMPTS, data_schema

USER = [pa.field("topic", pa.large_string()), pa.field("n", pa.int64())]
DATA = data_schema(USER, raw=True, parsed=True, images=True)


@pytest.mark.parametrize("parsed", [False, True])
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("user", [[], USER])
def test_what_is_written_has_no_fault(user, raw, parsed):
    assert list(data_faults(data_schema(user, raw=raw, parsed=parsed, images=raw))) == []
    assert list(ledger_faults(ATTEMPTS)) == []


def test_columns_of_a_later_version_stand_at_the_end():
    later = pa.field("later", pa.string())
    assert list(data_faults(DATA.append(later))) == []
    assert list(ledger_faults(ATTEMPTS.append(later))) == []


OURS = [name for name in DATA.names if name not in {"topic", "n", "parsed", "schema_valid", "raw", "response_images"}]


@pytest.mark.parametrize(
    ("schema", "faults", "names"), [(DATA, data_faults, OURS), (ATTEMPTS, ledger_faults, ATTEMPTS.names)]
)
def test_no_column_may_be_gone_or_renamed_or_of_another_type(schema, faults, names):
    for name in names:
        at = schema.get_field_index(name)
        other = pa.int8() if schema.field(name).type != pa.int8() else pa.int16()
        assert list(faults(schema.remove(at))), name
        assert list(faults(schema.set(at, pa.field(f"{name}s", schema.field(name).type)))), name
        assert list(faults(schema.set(at, pa.field(name, other)))) == [
            (f"{name}: {other}", f"{name}: {_kind(schema.field(name).type)}")
        ]


def _kind(kind: pa.DataType) -> str:
    return "list" if pa.types.is_list(kind) else "struct" if pa.types.is_struct(kind) else str(kind)
