from collections import Counter

from batcher.engine.reparsed import Reparsed
from batcher.reports.reparse import reparse_json, reparse_lines


def found(**values):
    return Reparsed(**{"run_dir": "out/a", "dry_run": False, "tasks": 20, "reread": 18} | values)


def test_what_differs_is_said_by_column_and_status():
    lines = reparse_lines(
        found(
            differ=3,
            by_column=Counter(status=1, response=3, error_kind=0),
            changed=Counter({("failed", "ok"): 1}),
            parts=2,
            open=4,
            without_raw=1,
            unknown=1,
            asked_again=1,
        )
    )

    assert lines == [
        "reparsed: 3 of 22 rows differ",
        "",
        "  reread    18 rows",
        "  columns   status 1 · response 3",
        "  status    failed → ok 1",
        "  journal   4 rows that are in no part yet",
        "  parts     2 rewritten",
        "",
        "note: left alone: 1 row without a kept reply (--set output.raw=true keeps them)",
        "note: left alone: 1 row judged by more than a body that the ledger knows",
        "note: left alone: 1 parts whose rows are being asked again; finish the run, then reparse",
    ]


def test_nothing_is_said_in_a_line():
    assert reparse_lines(found())[0] == "reparsed: nothing differs in 18 rows; nothing was written"
    assert reparse_lines(found(dry_run=True, differ=1, parts=1))[0] == (
        "reparsed: 1 of 18 rows would differ; nothing was written"
    )
    assert "  parts     1 to rewrite" in reparse_lines(found(dry_run=True, differ=1, parts=1))


def test_the_document_has_all_of_it():
    told = reparse_json(found(differ=1, by_column=Counter(status=1, x=0), changed=Counter({("failed", "ok"): 1})))

    assert told["by_column"] == {"status": 1}
    assert told["status"] == [{"was": "failed", "now": "ok", "rows": 1}]
    assert (told["reread"], told["differ"], told["exit_code"], told["dry_run"]) == (18, 1, 0, False)
