"""A sealed draft is the record itself."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from batcher.gemini.drafts import AnswerDraft, CandidateDraft, UsageDraft
from batcher.records import Answer, Candidate, Usage

SEALED = [
    (UsageDraft().sealed(), Usage()),
    (CandidateDraft(3).sealed(), Candidate(index=3)),
    (AnswerDraft().sealed(), Answer()),
]


@pytest.mark.parametrize(("sealed", "record"), SEALED)
def test_an_empty_draft_is_the_record_with_its_defaults(sealed: object, record: object) -> None:
    assert sealed == record
    assert repr(sealed) == repr(record)
    assert type(sealed) is type(record)
    assert pickle.loads(pickle.dumps(sealed)) == record


@pytest.mark.parametrize(("sealed", "record"), SEALED)
def test_a_sealed_draft_is_frozen(sealed: object, record: object) -> None:
    for field in dataclasses.fields(record):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(sealed, field.name, 1)


@pytest.mark.parametrize("record", [Usage, Candidate, Answer])
def test_the_records_run_nothing_that_a_draft_would_skip(record: type) -> None:
    assert not hasattr(record, "__post_init__")


def test_what_is_filled_in_stays() -> None:
    draft = CandidateDraft(0)
    draft.text = "yes"

    assert draft.sealed() == Candidate(index=0, text="yes")


def test_drafts_share_nothing() -> None:
    one, other = UsageDraft().sealed(), UsageDraft().sealed()

    assert one.prompt_tokens_details is not other.prompt_tokens_details
