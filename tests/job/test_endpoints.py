"""`[endpoint]` and `[[endpoint]]`: one tuple behind the door, and what is said of those that cannot stand together."""

import json

import pytest

from batcher.errors import JobError
from batcher.job.fingerprint import anchor, fingerprint
from batcher.job.load import load_job, revised
from batcher.job.pool import has_day_quota, limits_of, pooled

TWO = """
model = "gemini-x"
fallback_models = ["models/gemini-y"]
[input]
files = ["rows.jsonl"]
[limits]
concurrency = 8
requests_per_minute = 100
[[endpoint]]
project = "a"
weight = 2
[[endpoint]]
base_url = "https://gateway.example/v1beta"
[endpoint.limits]
concurrency = 2
requests_per_minute = 30
"""


def load(tmp_path, text, **sets):
    file = tmp_path / "job.toml"
    file.write_text(text)
    return load_job(file, flags={}, sets=sets, environ={"GOOGLE_GEMINI_BASE_URL": "https://elsewhere.example"})


def complaint(tmp_path, text, **sets):
    with pytest.raises(JobError) as caught:
        load(tmp_path, text, **sets)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_both_spellings_give_endpoints(tmp_path):
    job = load(tmp_path, TWO).job
    assert [endpoint.base_url for endpoint in job.asked] == [
        "https://generativelanguage.googleapis.com",
        "https://gateway.example",
    ]
    assert (job.endpoint, job.fallback_models) == (job.asked[0], ("gemini-y",))
    table = load(tmp_path, TWO.replace("[[endpoint]]\nbase_url", "[other]\nx").split("[other]")[0]).job
    assert (table.asked, table.endpoints) == ((table.endpoint,), ())
    alone = load(tmp_path, TWO.split("[[endpoint]]", maxsplit=1)[0] + "[endpoint]\nproject = 'a'").job
    assert [endpoint.base_url for endpoint in alone.asked] == ["https://elsewhere.example"]


def test_limits_are_each_endpoints_own_or_the_jobs_and_add_up(tmp_path):
    job = load(tmp_path, TWO).job
    first, second = (limits_of(job, endpoint) for endpoint in job.asked)
    assert (first.concurrency, first.requests_per_minute) == (8, 100)
    assert (second.concurrency, second.requests_per_minute) == (2, 30)
    assert (pooled(job).concurrency, pooled(job).requests_per_minute, pooled(job).requests_per_day) == (10, 130, None)


def test_the_day_is_counted_where_one_endpoint_has_a_quota_of_it(tmp_path):
    assert not has_day_quota(load(tmp_path, TWO).job)
    job = load(tmp_path, TWO, **{"endpoint.2.limits.requests_per_day": 10}).job
    assert has_day_quota(job)
    assert pooled(job).requests_per_day is None  # together they have no limit


def test_a_job_comes_back_from_a_run_directory_as_it_was(tmp_path):
    job = load(tmp_path, TWO).job
    kept = type(job).model_validate(json.loads(json.dumps(job.model_dump(mode="json", exclude_none=True))))
    assert kept == job
    assert revised(kept, sets={"endpoint.2.weight": 3.0}, origin="run.json").asked[1].weight == 3.0


def test_who_serves_a_row_is_no_part_of_what_a_job_is(tmp_path):
    job = load(tmp_path, TWO).job
    alone = load(tmp_path, TWO.split("[[endpoint]]", maxsplit=1)[0] + "[[endpoint]]\nproject = 'b'").job
    assert fingerprint(alone).sha == fingerprint(job).sha
    turned = job.model_copy(update={"endpoint": job.endpoints[1], "endpoints": job.endpoints[::-1]})
    facts = fingerprint(job).facts
    assert anchor(turned, facts) == job.endpoint
    assert fingerprint(turned, anchor(turned, facts)).sha == fingerprint(job).sha
    other = turned.model_copy(update={"endpoints": ()})
    assert fingerprint(other, anchor(other, facts)).sha != fingerprint(job).sha


GOOGLE = "https://generativelanguage.googleapis.com"
WRONG = {
    "key": (("weight = 2", "weigth = 2"), "job.toml:11: [[endpoint]] 1 weigth: unknown key; did you mean 'weight'?"),
    "limit": (
        ("concurrency = 2", "concurrency = 0"),
        "job.toml:15: [[endpoint]] 2 limits.concurrency: found 0, wanted at least 1",
    ),
    "project": (
        ('base_url = "https://gateway.example/v1beta"', 'project = "a"'),
        f'job.toml:13: [[endpoint]] 2 project: endpoint 1 asks {GOOGLE} as well, with the same project "a"; wanted',
    ),
    "dialect": (
        ("weight = 2", 'provider = "visioncoder"'),
        'job.toml:12: [[endpoint]] 2 dialect: found "google" beside "flat" of endpoint 1; wanted one dialect: each',
    ),
    "fallback": (
        ('"models/gemini-y"', '"models/gemini-x"'),
        'job.toml:3: fallback_models: found ["gemini-x"], wanted each model once, and not the first',
    ),
    "name": (("[[endpoint]]", "[[endpoints]]"), "unknown key; did you mean [[endpoint]]?"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_where_it_stands(tmp_path, what):
    written, said = WRONG[what]
    assert said in complaint(tmp_path, TWO.replace(*written))


def test_a_flag_has_to_say_which_one_it_means(tmp_path):
    assert complaint(tmp_path, TWO, **{"endpoint.base_url": "https://x.example"}) == (
        "flag --set endpoint.base_url: the job has 2 endpoints; wanted one of them: --set endpoint.1.base_url=…"
    )
    job = load(tmp_path, TWO, **{"endpoint.2.base_url": "https://x.example"}).job
    assert job.asked[1].base_url == "https://x.example"
    assert "the job has 2 endpoints" in complaint(tmp_path, TWO, **{"endpoint.3.weight": 1.0})
