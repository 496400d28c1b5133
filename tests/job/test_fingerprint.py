import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.job.fingerprint import differences, fingerprint
from batcher.job.load import load_job

FLAGS = {"model": "gemini-2.5-flash", "input.files": ("a.jsonl",)}


def facts(*sets, **flags):
    return fingerprint(load_job(None, flags=FLAGS | flags, sets=sets, environ={}).job)


SAME = facts()


def test_the_facts_of_a_small_job():
    assert SAME.facts == {
        "model": '"gemini-2.5-flash"',
        "samples": "1",
        "endpoint.url": '"https://generativelanguage.googleapis.com/v1beta"',
        "endpoint.dialect": '"google"',
    }
    assert SAME.sha == fingerprint(load_job(None, flags=FLAGS, sets=(), environ={}).job).sha
    assert len(SAME.sha) == 32


@pytest.mark.parametrize(
    "change",
    [
        "model=gemini-2.5-pro",
        "samples=2",
        "dedup=true",
        "prompt.template=Hello {{ a }}",
        "prompt.system=Be kind.",
        "prompt.overrides.temperature=t",
        "generation.temperature=0.0",
        "generation.seed=1",
        "generation.response_json_schema={type='object'}",
        "request.service_tier=flex",
        "request.send_labels=true",
        "endpoint.provider=visioncoder",
        "endpoint.base_url=https://example.com",
        "endpoint.base_url=https://generativelanguage.googleapis.com/gateway",
        "endpoint.api_version=v1",
        "endpoint.dialect=flat",
        "endpoint.verbless=true",
        "input.format=csv",
        "input.shape=table",
        "input.id=key",
        "input.strict=true",
        "input.max_row_bytes=10",
        "output.store_prompt=false",
        "output.raw=true",
        "labels.team=search",
    ],
)
def test_what_changes_an_answer_or_a_column_is_another_job(change):
    assert facts(change).sha != SAME.sha


@pytest.mark.parametrize(
    "change",
    [
        "name=other",
        'reuse=["out/a"]',
        "limits.concurrency=1",
        "limits.requests_per_minute=60",
        "budget.max_cost_usd=5",
        "budget.deadline=3h",
        "retry.attempts=9",
        "timeouts.total_s=1",
        "run.max_failed=3",
        "output.dir=elsewhere",
        "output.state_dir=/tmp/x",
        "input.files=['b.jsonl']",
        "endpoint.key_file=/k",
        "endpoint.auth=bearer",
        "endpoint.stream=sse",
        "endpoint.project=p",
        "endpoint.base_url=https://generativelanguage.googleapis.com/v1beta/models/",
        "model=models/gemini-2.5-flash",
    ],
)
def test_the_rest_may_change_between_two_runs(change):
    assert facts(change) == SAME


def test_a_local_server_may_come_back_on_another_port():
    assert facts("endpoint.base_url=http://127.0.0.1:1") == facts("endpoint.base_url=http://localhost:2/v1beta")
    assert facts("endpoint.base_url=http://127.0.0.1:1") != facts("endpoint.base_url=http://127.0.0.1:1/x")


def test_labels_have_no_order_and_numbers_no_spelling():
    assert facts("labels.a=x", "labels.b=y") == facts("labels.b=y", "labels.a=x")
    assert facts("generation.temperature=1") == facts("generation.temperature=1.0")


def test_differences_name_what_was_and_what_is():
    was = facts("generation.temperature=0.2", "prompt.template=A", "labels.team=x").facts
    now = facts("generation.temperature=0.7", "prompt.template=B", "samples=3").facts

    assert differences(was, now) == (
        "samples: 1 → 3",
        'prompt.template: "A" → "B"',
        "generation.temperature: 0.2 → 0.7",
        'labels.team: "x" → default',
    )


def test_a_long_value_is_cut_down_to_where_it_differs():
    was = {"prompt.template": "a" * 500 + "OLD" + "z" * 300}
    now = {"prompt.template": "a" * 500 + "NEW" + "z" * 3000}

    assert differences(was, now) == (
        f"prompt.template: …{'a' * 12}OLD{'z' * 45}…(+255 chars) → …{'a' * 12}NEW{'z' * 45}…(+2,955 chars)",
    )


some_facts = st.dictionaries(st.sampled_from("abcde"), st.text(max_size=100), max_size=5)


@given(some_facts, some_facts)
def test_there_is_one_difference_for_each_fact_that_differs(was, now):
    expected = {name for name in was.keys() | now.keys() if was.get(name) != now.get(name)}

    assert {line.partition(":")[0] for line in differences(was, now)} == expected
    assert len(differences(was, now)) == len(expected)
    assert differences(was, was) == ()


@given(some_facts, some_facts)
def test_a_difference_is_short_and_its_sides_differ(was, now):
    for line in differences(was, now):
        before, _, after = line.partition(": ")[2].partition(" → ")
        assert len(line) < 250
        assert before != after or " → " in after
