from __future__ import annotations

import dataclasses
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.emulator.journal import Journal, Received, Totals


def received(number: int = 1, **fields: object) -> Received:
    return Received(**{"number": number, "at_s": 0.0, "verb": "generateContent", "path": "/p", **fields})  # type: ignore[arg-type]  # a test's shorthand


ENTRIES = st.lists(
    st.tuples(st.sampled_from([200, 429, 503, None]), st.integers(0, 100), st.integers(0, 100), st.booleans()),
    max_size=60,
)


@given(ENTRIES, st.integers(1, 10))
def test_totals_never_forget_and_entries_do(entries: list[tuple[int | None, int, int, bool]], most: int) -> None:
    journal = Journal(most)
    for number, (status, tokens_in, tokens_out, generates) in enumerate(entries, 1):
        entry = received(number, http_status=status, input_tokens=tokens_in, output_tokens=tokens_out)
        journal.add(entry, generates=generates)
    counted = [each for each in entries if each[3]]
    totals = journal.totals()
    assert len(journal) == min(len(entries), most)
    assert totals.requests == len(counted)
    assert totals.other_requests == len(entries) - len(counted)
    assert totals.input_tokens == sum(each[1] for each in counted)
    assert totals.output_tokens == sum(each[2] for each in counted)
    assert sum(totals.by_status.values()) == len(counted)


def test_a_new_journal_is_empty() -> None:
    assert Journal(5).totals() == Totals()
    assert list(Journal(5)) == []


def test_statuses_and_faults_are_counted_by_name() -> None:
    journal = Journal(5)
    journal.add(received(1, http_status=200, response_id="a"), generates=True)
    journal.add(received(2, http_status=429, fault="quota"), generates=True)
    journal.add(received(3, http_status=None, fault="drop"), generates=True)
    totals = journal.totals()
    assert totals.by_status == {"200": 1, "429": 1, "none": 1}
    assert totals.by_fault == {"quota": 1, "drop": 1}
    assert totals.answered == 1


def test_entries_are_read_oldest_first_or_from_a_number_on() -> None:
    journal = Journal(3)
    for number in range(1, 6):
        journal.add(received(number), generates=True)
    assert [each.number for each in journal] == [3, 4, 5]
    assert [each.number for each in journal.after(3)] == [4, 5]
    assert journal.after(5) == []
    assert journal[0].number == 3
    assert journal[-1].number == 5


def test_an_entry_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        received().model = "other"  # type: ignore[misc]  # that is the point


def test_another_thread_may_read_while_it_is_written() -> None:
    journal = Journal(100)

    def write() -> None:
        for n in range(5000):
            journal.add(received(n, http_status=200), generates=True)

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        numbers = [each.number for each in journal]
        assert numbers == sorted(numbers)
        journal.totals()
    writer.join()
    assert journal.totals().requests == 5000
