from decimal import Decimal

from batcher.audit.findings import Audited, Finding, Proved
from batcher.errors import Exit
from batcher.reports.audit import audit_json, audit_lines, progress_line

PROVED = Proved(
    parts=2, ledgers=3, tasks=1_200, waiting=0, attempts=1_300, cost_usd=Decimal("0.12300"), read_bytes=5_000
)
GOOD = Audited(run_dir="out/he", tasks=1_200, is_finished=True, proved=PROVED)
BAD = Audited(
    run_dir="out/he",
    tasks=1_200,
    is_finished=False,
    proved=PROVED,
    findings=(
        Finding(kind="bytes", where="data/a.parquet", found="[b]x\x1b[31m", wanted="y"),
        Finding(kind="bill", where="data/b.parquet", found="3", wanted="4", task=1_007, times=12),
    ),
    counts={"bytes": 1, "bill": 9},
    notes=("a process runs it now",),
    next_command="batcher recover out/he",
)


def test_what_is_right_is_said_in_a_few_lines():
    assert audit_lines(GOOD) == [
        "proved: 1,200 of 1,200 tasks in 2 parts",
        "",
        "  tasks     1,200 of 1,200 in 2 parts",
        "  attempts  1,300 in 3 ledger files",
        "  cost      $0.123",
        "  read      5,000 bytes",
    ]
    assert GOOD.exit_code is Exit.DONE


def test_what_is_wrong_is_one_line_each_with_what_to_type():
    assert audit_lines(BAD, width=100) == [
        "not as it must be: 10 findings",
        "",
        "  tasks     1,200 of 1,200 in 2 parts",
        "  attempts  1,300 in 3 ledger files",
        "  cost      $0.123",
        "  read      5,000 bytes",
        "",
        "  bytes  data/a.parquet: found [b]x\ufffd[31m; wanted y",
        "  bill   data/b.parquet, task 1,007 and 11 more: found 3; wanted 4",
        "  … 8 more of kind bill",
        "",
        "note: a process runs it now",
        "",
        "  next      batcher recover out/he",
    ]
    assert BAD.exit_code is Exit.STORAGE


def test_json_says_the_same():
    said = audit_json(BAD)

    assert (said["verdict"], said["exit_code"]) == ("not as it must be: 10 findings", 6)
    assert said["counts"] == {"bytes": 1, "bill": 9}
    assert said["proved"]["cost_usd"] == "0.12300"
    assert said["findings"][1] == {
        "kind": "bill",
        "where": "data/b.parquet",
        "task": 1007,
        "times": 12,
        "found": "3",
        "wanted": "4",
    }
    assert said["next_command"] == "batcher recover out/he"
    assert audit_json(GOOD)["exit_code"] == 0


def test_an_unfinished_run_says_how_far_it_is():
    waiting = Proved(parts=1, tasks=256, waiting=44)
    half = Audited(run_dir="out", tasks=300, is_finished=False, proved=waiting)

    assert audit_lines(half)[0] == (
        "unfinished; what is there is proved: 256 of 300 tasks in 1 part, 44 more in the journal"
    )
    assert "  journal   44 more" in audit_lines(half)


def test_how_far_it_is():
    assert progress_line(50, 200) == " 25 %  50 of 200 parts"
    assert progress_line(0, 0) == "100 %  0 of 0 parts"
