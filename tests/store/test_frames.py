from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.errors import StorageError
from batcher.records import Attempt, Billed, Kind, Outcome, Status
from batcher.store.frames import checked, pack_attempt, pack_outcome, unchecked, unpack_attempt, unpack_outcome
from tests.builders import an_attempt, an_outcome
from tests.store.strategies import attempts, outcomes

FRAMES = [
    (pack_attempt(an_attempt(task=3, n=2, body=b'{"candidates": []}')), unpack_attempt, (3, 2)),
    (pack_attempt(an_attempt(task=3, n=2, body=b"", http_status=None)), unpack_attempt, (3, 2)),
    (pack_outcome(an_outcome(task=3, error_message="größer")), unpack_outcome, (3,)),
]


@given(attempt=attempts)
def test_an_attempt_comes_back_as_it_was(attempt: Attempt) -> None:
    assert unpack_attempt(attempt.task, attempt.n, pack_attempt(attempt)) == attempt


@given(outcome=outcomes)
def test_an_outcome_comes_back_as_it_was(outcome: Outcome) -> None:
    assert unpack_outcome(outcome.task, pack_outcome(outcome)) == outcome


@given(attempt=attempts)
def test_what_comes_back_has_types_and_not_just_their_words(attempt: Attempt) -> None:
    back = unpack_attempt(attempt.task, attempt.n, pack_attempt(attempt))

    assert type(back.verdict) is Kind
    assert type(back.billed) is Billed
    assert type(unpack_outcome(0, pack_outcome(an_outcome())).status) is Status


@pytest.mark.parametrize(("frame", "unpack", "key"), FRAMES)
def test_every_flipped_bit_is_damage(frame, unpack, key):
    for bit in range(len(frame) * 8):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StorageError):
            unpack(*key, bytes(damaged))


@pytest.mark.parametrize(("frame", "unpack", "key"), FRAMES)
def test_a_record_answers_for_no_other_key(frame, unpack, key):
    """A bit of a key that flips in the database must not make it the answer of another task."""
    assert unpack(*key, frame)
    for at in range(len(key)):
        for bit in range(31):
            other = [*key[:at], key[at] ^ 1 << bit, *key[at + 1 :]]
            with pytest.raises(StorageError):
                unpack(*other, frame)


@given(content=st.binary(), key=st.text(), bit=st.integers(0))
def test_a_small_value_knows_its_key_and_its_bits(content: bytes, key: str, bit: int) -> None:
    kept = checked(content, key)
    damaged = bytearray(kept)
    damaged[bit // 8 % len(kept)] ^= 1 << bit % 8

    assert unchecked(kept, key, "list") == content
    with pytest.raises(StorageError, match=r"^journal: the list is damaged$"):
        unchecked(kept, f"{key}!", "list")
    if damaged.rfind(b" ") == len(content):  # else it looks like one of an older version
        with pytest.raises(StorageError):
            unchecked(bytes(damaged), key, "list")


@pytest.mark.parametrize(("frame", "unpack", "key"), FRAMES)
def test_every_truncation_is_damage(frame, unpack, key):
    for length in range(len(frame)):
        with pytest.raises(StorageError):
            unpack(*key, frame[:length])


@given(attempt=attempts, extra=st.binary(min_size=1, max_size=20))
def test_bytes_behind_the_frame_are_damage(attempt: Attempt, extra: bytes) -> None:
    with pytest.raises(StorageError):
        unpack_attempt(attempt.task, attempt.n, pack_attempt(attempt) + extra)


def test_damage_names_its_task_and_the_way_out():
    with pytest.raises(StorageError) as cut:
        unpack_attempt(17, 3, b"abc")
    with pytest.raises(StorageError) as damaged:
        unpack_outcome(17, b"0123456789")

    assert cut.value.message == "journal: the attempt of task 17 is damaged"
    assert damaged.value.message == "journal: the outcome of task 17 is damaged"
    assert cut.value.hint == damaged.value.hint != ""


def test_the_body_stands_as_it_came():
    body = bytes(range(256)) * 3

    assert pack_attempt(an_attempt(body=body)).endswith(body)
