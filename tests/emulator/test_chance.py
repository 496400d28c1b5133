from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batcher.emulator import chance

SEEDS = st.integers(-(2**63), 2**64 - 1)


@given(SEEDS, st.lists(st.binary(max_size=20), max_size=4))
def test_the_same_words_draw_the_same_number(seed: int, words: list[bytes]) -> None:
    assert chance.draw(seed, *words) == chance.draw(seed, *words)


@given(SEEDS, st.binary(max_size=8))
def test_draws_fit_in_64_bits_and_both_shares_lie_below_one(seed: int, word: bytes) -> None:
    drawn = chance.draw(seed, word)
    assert 0 <= drawn < 2**64
    assert 0 <= chance.share(drawn) < 1
    assert 0 <= chance.second_share(drawn) < 1


def test_the_largest_draw_is_still_below_one() -> None:
    assert chance.share(2**64 - 1) < 1
    assert chance.second_share(2**64 - 1) < 1


def test_where_one_word_ends_and_the_next_begins_matters() -> None:
    assert chance.draw(0, b"ab", b"c") != chance.draw(0, b"a", b"bc")
    assert chance.draw(0, b"", b"a") != chance.draw(0, b"a", b"")


def test_another_seed_draws_another_number() -> None:
    assert len({chance.draw(seed, b"same") for seed in range(1000)}) == 1000


def test_shares_are_spread_evenly() -> None:
    drawn = [chance.draw(7, str(n).encode()) for n in range(4000)]
    for shares in ([chance.share(each) for each in drawn], [chance.second_share(each) for each in drawn]):
        tenths = [sum(n / 10 <= share < (n + 1) / 10 for share in shares) for n in range(10)]
        assert all(330 < count < 470 for count in tenths)


def test_the_two_shares_of_a_draw_do_not_go_together() -> None:
    drawn = [chance.draw(7, str(n).encode()) for n in range(4000)]
    low = [each for each in drawn if chance.share(each) < 0.1]
    assert 0.4 < sum(chance.second_share(each) for each in low) / len(low) < 0.6


def test_a_stream_repeats_itself() -> None:
    first, second = chance.stream(42), chance.stream(42)
    assert [first.random() for _ in range(5)] == [second.random() for _ in range(5)]
