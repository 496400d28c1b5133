from collections import defaultdict
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.errors import StorageError
from batcher.store.spares import Found, Held, Spare, SpareFinder, read_spares

COST = Decimal("0.000001")


def hash_of(letter):
    return letter.encode() * 16


def held(letter, task, *, sample=0, usable=True, cost_usd=COST):
    return Held(hash_of(letter), sample, task, 1 + task // 3, task % 3, usable, cost_usd)


def found(path, asked, *runs, samples=1, dedup=False):
    finder = SpareFinder(path)
    finder.ask((hash_of(letter), ordinal) for ordinal, letter in enumerate(asked) if letter != " ")
    for run in runs:
        finder.have(run)
    return finder.match(samples=samples, dedup=dedup)


def spares(path, stop=1000):
    return read_spares(path, 0, stop)


def test_an_answer_goes_to_the_row_that_asks_for_it(tmp_path):
    path = tmp_path / "spares"
    assert found(path, "xab", [held("a", 0), held("b", 1), held("c", 2)]) == Found(
        reused=((2, 2 * COST),), twins=0, unmatched=(1,)
    )
    assert spares(path) == [Spare(1, None, 0, 1, 0), Spare(2, None, 0, 1, 1)]
    assert read_spares(path, 2, 3) == [Spare(2, None, 0, 1, 1)]


def test_the_nth_asks_for_the_nth_and_a_bad_one_is_no_answer(tmp_path):
    path = tmp_path / "spares"
    found(path, "aaa", [held("a", 0, usable=False), held("a", 5)])
    assert spares(path) == [Spare(1, None, 0, 2, 2)]


def test_samples_are_matched_each_with_its_own(tmp_path):
    path = tmp_path / "spares"
    old = [held("a", 0, sample=0), held("a", 1, sample=1), held("a", 2, sample=2)]
    found(path, "ba", old, samples=2)
    assert spares(path) == [Spare(2, None, 0, 1, 0), Spare(3, None, 0, 1, 1)]


def test_the_first_run_that_has_it_gives_it(tmp_path):
    path = tmp_path / "spares"
    told = found(path, "ab", [held("a", 0, usable=False), held("b", 1)], [held("b", 4), held("a", 7)])
    assert told.reused == ((1, COST), (1, COST))
    assert spares(path) == [Spare(0, None, 1, 3, 1), Spare(1, None, 0, 1, 1)]


def test_repeated_rows_share_the_answer_of_the_first(tmp_path):
    path = tmp_path / "spares"
    assert found(path, "abab a", dedup=True).twins == 3
    assert [(spare.task, spare.original, spare.source) for spare in spares(path)] == [
        (2, 0, None),
        (3, 1, None),
        (5, 0, None),
    ]


def test_they_share_another_runs_answer_too(tmp_path):
    path = tmp_path / "spares"
    told = found(path, "aa", [held("a", 4), held("a", 5)], dedup=True)
    assert (told.tasks, told.twins, told.unmatched) == (2, 1, (1,))
    assert spares(path) == [Spare(0, None, 0, 2, 1), Spare(1, 0, 0, 2, 1)]


def test_an_unknown_cost_counts_as_nothing(tmp_path):
    told = found(tmp_path / "spares", "ab", [held("a", 0, cost_usd=None), held("b", 1)])
    assert told.reused == ((2, COST),)


def test_nothing_is_left_beside_the_index(tmp_path):
    found(tmp_path / "spares", "ab", [held("a", 0)])
    assert [path.name for path in tmp_path.iterdir()] == ["spares"]
    finder = SpareFinder(tmp_path / "spares")
    finder.abandon()
    assert list(tmp_path.iterdir()) == []


def test_an_index_that_is_gone_or_damaged_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="the index of reused answers fails"):
        read_spares(tmp_path / "spares", 0, 1)
    (tmp_path / "spares").write_bytes(b"no index" * 200)
    with pytest.raises(StorageError, match="the index of reused answers fails"):
        read_spares(tmp_path / "spares", 0, 1)


letters = st.sampled_from("abc ")
runs = st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12), max_size=3)


@settings(deadline=None, max_examples=60)
@given(asked=st.lists(letters, max_size=14), old=runs, samples=st.integers(1, 3), wanted=st.booleans())
def test_it_finds_what_looking_through_all_of_them_would(tmp_path_factory, asked, old, samples, wanted):
    """The index against the plainest way to say the same."""
    path = tmp_path_factory.mktemp("law") / "spares"
    dedup = wanted and samples == 1
    answers = [
        [
            held(letter, row * samples + sample, sample=sample, usable=usable)
            for row, (letter, usable) in enumerate(run)
            for sample in range(samples)
        ]
        for run in old
    ]

    told = found(path, asked, *answers, samples=samples, dedup=dedup)

    got = spares(path)
    expected = _by_looking(asked, answers, samples, dedup=dedup)
    assert got == expected
    assert told.tasks == len(got)
    assert [count for count, _ in told.reused] == [
        sum(1 for spare in got if spare.source == source and spare.original is None) for source in range(len(old))
    ]
    if not dedup:  # no answer is given twice
        places = [(spare.source, spare.part, spare.row) for spare in got]
        assert len(places) == len(set(places))


def _by_looking(asked, answers, samples, *, dedup):
    by_key = {}
    for source, run in enumerate(answers):
        seen = defaultdict(int)
        for answer in run:
            key = (answer.request_hash, answer.sample)
            number = seen[key]
            seen[key] += 1
            if answer.usable:
                by_key.setdefault((*key, number), (source, answer.part, answer.row))
    spares, seen, firsts = [], defaultdict(int), {}
    for ordinal, letter in enumerate(asked):
        if letter == " ":
            continue
        number = seen[letter]
        seen[letter] += 1
        first = firsts.setdefault(letter, ordinal)
        for sample in range(samples):
            repeats = dedup and number > 0
            place = by_key.get((hash_of(letter), sample, 0 if repeats else number))
            if repeats:
                spares.append(Spare(ordinal, first, *(place or (None, None, None))))
            elif place:
                spares.append(Spare(ordinal * samples + sample, None, *place))
    return spares
