from __future__ import annotations

import datetime as dt
from email.utils import format_datetime

from hypothesis import given
from hypothesis import strategies as st

from batcher.asking.judged import Judge
from batcher.gemini.refusal import judge
from batcher.gemini.reply import Unreadable, read
from batcher.records import NoReply, NoReplyKind, Reply

BEGAN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
BEGAN_US = int(BEGAN.timestamp()) * 1_000_000
BODIES = (
    b'{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"Please retry in 1.5s."}}',
    b'{"error":{"code":503,"status":"UNAVAILABLE","message":"overloaded"}}',
    b"<html>",
    b"x" * 5000,
)
DATES = [format_datetime(BEGAN + dt.timedelta(seconds=seconds), usegmt=True) for seconds in (-5, 2, 60)]

headers = st.dictionaries(
    st.sampled_from(["retry-after", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", "date"]),
    st.sampled_from(["0", "3", "20ms", *DATES]),
)
replies = st.one_of(
    st.builds(
        lambda status, body, headers: Reply(status, headers, body, 1.0, 2.0),
        st.sampled_from([200, 400, 429, 503]),
        st.sampled_from(BODIES),
        headers,
    ),
    st.just(NoReply(kind=NoReplyKind.CUT, sent=True, first_byte=True, latency_ms=1.0)),
)


def afresh(reply, sent_at_us):
    """What is said of a reply that is the first."""
    if isinstance(reply, NoReply):
        return "none", judge(reply, None)
    try:
        answer = read(reply.body)
    except Unreadable as error:
        answer = error
    at_us = sent_at_us + int(reply.latency_ms * 1000)
    now = None if reply.status == 200 else dt.datetime.fromtimestamp(at_us // 1_000_000, dt.UTC)
    return str(answer), judge(reply, answer, now)


@given(st.lists(st.tuples(replies, st.integers(0, 3_000)), max_size=30))
def test_whatever_came_before_the_judgement_is_the_same(came):
    """To the second, for hints that are dates: they have no more."""
    judges = Judge(streamed=False)
    for reply, sent_at_ms in came:
        sent_at_us = BEGAN_US + sent_at_ms * 1000
        answer, verdict = judges.judge(reply, sent_at_us)
        said, expected = afresh(reply, sent_at_us)
        assert said in (str(answer), "none")
        assert abs((verdict.wait_s or 0) - (expected.wait_s or 0)) < 1
        assert (verdict.kind, verdict.reason, verdict.quota) == (expected.kind, expected.reason, expected.quota)


def test_equal_refusals_of_one_second_are_read_once():
    judges = Judge(streamed=False)
    refusal = Reply(429, {}, BODIES[0])
    first, second, later = (judges.judge(refusal, BEGAN_US + at_us) for at_us in (0, 500_000, 2_000_000))
    assert second is first
    assert later is not first
    assert later[1] == first[1]


def test_a_long_one_is_not_kept():
    judges = Judge(streamed=False)
    one = Reply(503, {}, BODIES[3])
    assert judges.judge(one, BEGAN_US) is not judges.judge(one, BEGAN_US)
