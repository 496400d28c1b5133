import pytest

from batcher.gemini.origin import Sign, loads, sign_of
from batcher.gemini.refusal import OK, judge
from batcher.gemini.reply import read
from batcher.records import NoReply, NoReplyKind, Reply
from tests.asking.stage import failure, throttled
from tests.builders import a_reply


def judged(reply):
    return judge(reply, read(reply.body) if isinstance(reply, Reply) else None)


def nothing(kind):
    return NoReply(kind=kind, sent=True, first_byte=False)


@pytest.mark.parametrize("served", [True, False])
@pytest.mark.parametrize(
    ("reply", "sign"),
    [
        (a_reply(), Sign.SERVES),
        (a_reply(None, finish_reason="SAFETY"), Sign.SERVES),
        (a_reply(finish_reason="MAX_TOKENS"), Sign.SERVES),
        (failure(400), Sign.SERVES),
        (failure(401), Sign.SERVES),
        (a_reply(None, finish_reason=""), Sign.SERVES),  # neither candidate nor reason: it did its work
        (nothing(NoReplyKind.TOO_LARGE), Sign.SERVES),
        (throttled(), Sign.THERE),
        (failure(502), Sign.DOWN),
        (failure(503), Sign.DOWN),
        (failure(529), Sign.DOWN),
        (nothing(NoReplyKind.DNS), Sign.DOWN),
        (nothing(NoReplyKind.REFUSED), Sign.DOWN),
        (nothing(NoReplyKind.CONNECT_TIMEOUT), Sign.DOWN),
        (nothing(NoReplyKind.TLS_HANDSHAKE), Sign.DOWN),
        (failure(408), Sign.TROUBLE),
        (failure(500), Sign.TROUBLE),
        (failure(504), Sign.TROUBLE),
        (nothing(NoReplyKind.READ_TIMEOUT), Sign.TROUBLE),
        (nothing(NoReplyKind.DISCONNECTED), Sign.TROUBLE),
        (nothing(NoReplyKind.CUT), Sign.TROUBLE),
        (nothing(NoReplyKind.STALE), Sign.NOTHING),
    ],
)
def test_what_a_reply_shows_of_its_origin(reply, sign, served):
    assert sign_of(judged(reply), served=served) is sign


def test_a_page_in_the_place_of_an_answer_is_trouble_where_there_were_answers():
    page = judge(Reply(status=200, headers={}, body=b"<html>back at nine"), None)
    assert (sign_of(page, served=True), sign_of(page, served=False)) == (Sign.TROUBLE, Sign.NOTHING)


def test_a_dead_connection_and_a_429_are_no_load():
    assert loads(judged(failure(503)))
    assert loads(judged(nothing(NoReplyKind.REFUSED)))
    assert not loads(judged(nothing(NoReplyKind.STALE)))
    assert not loads(judged(throttled()))
    assert not loads(OK)
