from __future__ import annotations

from typing import Any

import orjson
import pytest

from batcher.emulator.faults import Fault, FaultKind, Faults, Rule
from batcher.emulator.quotas import Quota
from batcher.emulator.service import Service
from batcher.emulator.settings import Latency, Settings
from batcher.emulator.streams import Form
from tests.emulator.builders import COUNT, FLAT, GENERATE, KEY, STREAM, arrival, ask, at, flat, nested, text_of, told


@pytest.fixture
def service() -> Service:
    return Service(Settings())


HEADERS = [{"x-goog-api-key": "k"}, {"x-api-key": "k"}, {"authorization": "Bearer k"}, {"authorization": "bearer  k "}]


@pytest.mark.parametrize("headers", HEADERS)
def test_a_key_may_come_in_any_header(headers: dict[str, str]) -> None:
    service = Service(Settings(keys=("k",)))
    assert service.reply(arrival(headers=headers)).status == 200
    assert service.reply(arrival(headers={}, target=GENERATE + "?key=k")).status == 200


@pytest.mark.parametrize(
    "headers", [{}, {"x-goog-api-key": ""}, {"authorization": "Basic abc"}, {"authorization": "Bearer "}]
)
def test_without_a_key_nobody_is_served(service: Service, headers: dict[str, str]) -> None:
    for target in (GENERATE, COUNT, FLAT):
        assert service.reply(arrival(headers=headers, target=target)).status == 403
    assert service.reply(arrival(headers=headers, target="/v1beta/models", method="GET")).status == 403


def test_a_wrong_key_is_refused_as_each_style_is() -> None:
    service = Service(Settings(keys=("right", "also")))
    assert service.reply(arrival(headers={"x-goog-api-key": "also"})).status == 200
    wrong = told(service.reply(arrival(headers={"x-goog-api-key": "wrong"})))["error"]
    assert (wrong["code"], wrong["details"][0]["reason"]) == (400, "API_KEY_INVALID")
    assert service.reply(arrival(headers={"authorization": "Bearer wrong"})).status == 401
    assert service.reply(arrival(headers={}, target=GENERATE + "?key=wrong")).status == 400


@pytest.mark.parametrize("target", [GENERATE, COUNT, FLAT])
def test_an_unknown_model_is_not_found(target: str) -> None:
    service = Service(Settings(models=("gemini-2.5-pro",)))
    found = service.reply(arrival(flat(), target=target))
    assert found.status == 404
    assert "models/gemini-2.5-flash is not found for API version v1beta" in told(found)["error"]["message"]


def test_any_gemini_is_known_unless_said_otherwise(service: Service) -> None:
    assert service.reply(arrival(target="/v1/models/gemini-9-ultra:generateContent")).status == 200
    assert service.reply(arrival(target="/v1/models/other:generateContent")).status == 404


@pytest.mark.parametrize("target", ["/", "/v1beta/nothing", "/v3/models/gemini-2.5-flash:generateContent"])
def test_a_path_that_leads_nowhere_is_a_page(service: Service, target: str) -> None:
    reply = service.reply(arrival(target=target))
    assert reply.status == 404
    assert reply.content_type.startswith("text/html")


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_both_versions_answer(service: Service, version: str) -> None:
    reply = service.reply(
        arrival(nested("What is 6 * 7?"), target=f"/{version}/models/gemini-2.5-flash:generateContent")
    )
    assert (reply.status, text_of(reply), reply.service_tier) == (200, "42", "standard")


def test_the_verbless_path_takes_the_flat_body_and_needs_its_stream(service: Service) -> None:
    reply = service.reply(arrival(flat("What is 6 * 7?"), target=FLAT, headers={"authorization": "Bearer k"}))
    assert text_of(reply) == "42"
    assert "usage_metadata" in told(reply)
    missing = service.reply(arrival(nested(), target=FLAT))
    assert missing.status == 400
    assert "stream" in told(missing)["error"]["message"]


def test_flat_bodies_are_understood_behind_the_verb_too(service: Service) -> None:
    assert "usage_metadata" in told(service.reply(arrival(flat())))


STREAMED = {"stream": True}


@pytest.mark.parametrize(
    ("target", "body", "form"),
    [
        (STREAM + "?alt=sse", nested(), "sse"),
        (STREAM, nested(), "array"),
        (STREAM, flat() | STREAMED, "ndjson"),
        (STREAM, flat(), "ndjson"),
        (STREAM + "?alt=sse", flat() | STREAMED, "sse"),
        (FLAT, flat() | STREAMED, "ndjson"),
        (FLAT + "?alt=sse", flat() | STREAMED, "sse"),
        (GENERATE, flat() | STREAMED, "ndjson"),
        (GENERATE + "?alt=sse", nested(), None),
        (FLAT, flat(), None),
    ],
)
def test_a_stream_is_written_as_it_was_asked_for(service: Service, target: str, body: Any, form: str | None) -> None:
    reply = service.reply(arrival(body, target=target))

    assert reply.status == 200
    assert bool(reply.writes) is (form is not None)
    usual = "application/json; charset=UTF-8"
    assert reply.content_type == (Form(form).content_type if form else usual)
    for forced in Form:
        again = Service(Settings(streams=forced)).reply(arrival(body, target=target))
        assert again.content_type == (forced.content_type if form else usual)


def test_a_stream_costs_what_the_whole_reply_costs_and_is_in_the_journal(service: Service) -> None:
    for target in (GENERATE, STREAM):
        service.reply(arrival(nested("Tell me about whales"), target=target))

    whole, streamed = service.journal
    assert (streamed.verb, streamed.http_status) == ("streamGenerateContent", 200)
    assert (streamed.input_tokens, streamed.output_tokens) == (whole.input_tokens, whole.output_tokens)


def test_its_time_is_spread_over_a_stream() -> None:
    reply = Service(Settings(latency=Latency.fixed(6))).reply(arrival(nested("Tell me about whales"), target=STREAM))

    assert reply.delay_s == reply.every_s
    assert reply.delay_s + reply.every_s * (len(reply.writes) - 1) == pytest.approx(6)


def test_a_refusal_of_an_array_is_an_array_of_one() -> None:
    service = Service(Settings(faults=Faults(script=(Rule(fault=Fault(kind=FaultKind.UNAVAILABLE)),))))
    (refused,) = orjson.loads(service.reply(arrival(target=STREAM)).body)

    assert refused["error"]["code"] == 503
    for asked in (arrival(target=STREAM + "?alt=sse"), arrival(flat() | STREAMED, target=STREAM), arrival()):
        assert told(service.reply(asked))["error"]["code"] == 503


def test_strict_is_google_and_nothing_else() -> None:
    service = Service(Settings(strict=True))
    assert service.reply(arrival(flat())).status == 400
    assert service.reply(arrival(flat(), target=FLAT)).status == 404
    assert service.reply(arrival(nested(generationConfig={"topP": 0.5}))).status == 200


def test_counting_costs_nothing_and_agrees_with_the_usage(service: Service) -> None:
    counted = told(service.reply(arrival(nested("some words to count"), target=COUNT)))["totalTokens"]
    assert counted == told(ask(service, "some words to count"))["usageMetadata"]["promptTokenCount"]
    whole = {"generateContentRequest": {"model": "models/gemini-2.5-flash", **nested("some words to count")}}
    assert told(service.reply(arrival(whole, target=COUNT)))["totalTokens"] == counted
    assert service.journal.totals().requests == 1
    assert service.journal.totals().other_requests == 2


def test_models_are_listed_and_described() -> None:
    service = Service(Settings(models=("gemini-a", "gemini-b")))
    listed = told(service.reply(arrival(target="/v1/models", method="GET")))["models"]
    assert [each["name"] for each in listed] == ["models/gemini-a", "models/gemini-b"]
    assert told(service.reply(arrival(target="/v1/models/gemini-b", method="GET"))) == listed[1]
    assert service.reply(arrival(target="/v1/models/gemini-c", method="GET")).status == 404
    assert told(Service(Settings()).reply(arrival(target="/v1/models", method="GET")))["models"]


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"contents": 5}'])
def test_an_unreadable_body_is_a_bad_request_and_free(service: Service, raw: bytes) -> None:
    assert service.reply(arrival(raw)).status == 400
    totals = service.journal.totals()
    assert (totals.requests, totals.by_status, totals.input_tokens) == (1, {"400": 1}, 0)


def test_the_journal_knows_what_came_and_what_it_cost(service: Service) -> None:
    body = told(service.reply(arrival(nested("What is 6 * 7?"), now=at(2.5))))
    (entry,) = service.journal
    usage = body["usageMetadata"]
    assert (entry.number, entry.at_s, entry.verb, entry.model) == (1, 2.5, "generateContent", "gemini-2.5-flash")
    assert (entry.path, entry.prompt_text, entry.body) == (GENERATE, "What is 6 * 7?", None)
    assert (entry.http_status, entry.fault) == (200, None)
    assert entry.input_tokens == usage["promptTokenCount"]
    assert entry.output_tokens == usage["candidatesTokenCount"] + usage["thoughtsTokenCount"]
    assert entry.response_id == body["responseId"]


def test_the_journal_never_holds_a_key_but_tells_keys_apart(service: Service) -> None:
    service.reply(arrival(headers={"x-goog-api-key": "secret-canary"}))
    service.reply(arrival(headers={}, target=GENERATE + "?key=other-canary"))
    first, second = service.journal
    assert first.key_hint != second.key_hint
    assert first.project != second.project
    assert "canary" not in repr(list(service.journal))


def test_bodies_and_whole_prompts_are_kept_only_when_wanted() -> None:
    long = "word " * 1000
    short, whole = Service(Settings()), Service(Settings(keep_bodies=True))
    for each in (short, whole):
        ask(each, long, generationConfig={"topP": 0.5})
    assert len(short.journal[0].prompt_text) == 500
    assert whole.journal[0].prompt_text == long
    assert whole.journal[0].body == nested(long) | {"generation_config": {"top_p": 0.5}}


@pytest.mark.parametrize("kind", list(FaultKind))
def test_every_fault_is_in_the_journal_with_its_price(kind: FaultKind) -> None:
    service = Service(Settings(faults=Faults(script=(Rule(fault=Fault(kind=kind)),))))
    reply = ask(service)
    (entry,) = service.journal
    dropped = kind in (FaultKind.DROP, FaultKind.DROP_PAID)
    assert entry.fault == kind.value
    assert entry.http_status == (None if dropped else reply.status)
    assert (entry.input_tokens > 0) is Fault(kind=kind).answered
    assert service.journal.totals().by_fault == {kind.value: 1}


def test_projects_are_named_by_their_keys_and_share_a_quota() -> None:
    service = Service(Settings(projects={"a": "team", "b": "team"}, quotas=(Quota(requests_per_minute=1),)))
    statuses = [service.reply(arrival(headers={"x-goog-api-key": key})).status for key in ("a", "b", "c")]
    assert statuses == [200, 429, 200]
    assert [each.project for each in service.journal][:2] == ["team", "team"]


def test_a_script_by_number_counts_generate_requests_only() -> None:
    service = Service(Settings(faults=Faults(script=(Rule(fault=Fault(kind=FaultKind.UNAVAILABLE), nth=(2,)),))))
    service.reply(arrival(target=COUNT))
    assert [ask(service).status for _ in range(3)] == [200, 503, 200]


def test_a_reset_forgets_everything() -> None:
    service = Service(Settings(quotas=(Quota(requests_per_minute=1),)))
    first = ask(service)
    assert ask(service).status == 429
    service.reset()
    assert list(service.journal) == []
    assert ask(service).body == first.body


def conversation(seed: int) -> list[Any]:
    service = Service(Settings(seed=seed))
    return [orjson.loads(ask(service, f"Tell me about whale number {n}").body) for n in range(10)]


def test_the_same_seed_repeats_a_run_to_the_byte_and_another_does_not() -> None:
    assert conversation(7) == conversation(7)
    assert conversation(7) != conversation(8)


def test_the_answer_is_the_same_in_both_dialects(service: Service) -> None:
    texts = {
        text_of(ask(service, "Tell me about whales", generationConfig={"temperature": 0.5})),
        text_of(service.reply(arrival(flat("Tell me about whales", temperature=0.5), target=FLAT, headers=KEY))),
        text_of(service.reply(arrival(nested("Tell me about whales", generation_config={"temperature": 0.5})))),
    }
    assert len(texts) == 1


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": []},
        {"type": "array", "minItems": "many"},
        {"type": 5},
        {"anyOf": [5]},
        {"allOf": ["x"]},
        {"type": "integer", "minimum": "low"},
        {"type": "object", "required": 5},
        {"type": "number", "multipleOf": "x"},
        {"$ref": "#/type/deeper", "type": "object"},
        {"type": "string", "maxLength": {}},
    ],
)
def test_no_schema_makes_it_stumble(service: Service, schema: dict[str, Any]) -> None:
    config = {"responseMimeType": "application/json", "responseSchema": schema}
    reply = ask(service, "What is 2 + 2?", generationConfig=config)
    assert reply.status in (200, 400)
    if reply.status == 400:
        assert told(reply)["error"]["message"].startswith("The specified schema is not valid")
