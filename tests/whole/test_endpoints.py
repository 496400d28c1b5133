"""One run and several endpoints: who serves which row, who leaves the run, and what the ledger says of it."""

import os
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from batcher.emulator.quotas import Quota
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Latency, Settings
from batcher.engine.local import run_job
from batcher.errors import Exit, JobError
from batcher.job.key import read_keys
from batcher.job.load import load_job
from batcher.records import Status
from tests.whole.runs import MODEL, Watched, data, ledger, proved, sums, write_lines

KEYS = ("first-canary/7f3a9c+0b1d", "second-canary~41ee+77aa")
DEAD = "http://127.0.0.1:9"


class Served:
    """An emulator that runs; its address is known afterwards, too."""

    def __init__(self, emulator: Emulator) -> None:
        self.url = emulator.url
        self.totals = emulator.totals


@contextmanager
def emulators(*settings: Settings):
    with ExitStack() as stack:
        yield [Served(stack.enter_context(Emulator(each).in_thread())) for each in settings]


def job_over(tmp_path: Path, urls: list[str], count: int = 60, each: tuple[str, ...] = ("", ""), **sets: object):
    if not (tmp_path / "rows.jsonl").exists():
        write_lines(tmp_path / "rows.jsonl", sums(count))
    tables = "".join(
        f'[[endpoint]]\nbase_url = "{url}"\nkey_env = "KEY_{n}"\nproject = "p{n}"\n{text}\n'
        for n, (url, text) in enumerate(zip(urls, each, strict=True), start=1)
    )
    file = tmp_path / "job.toml"
    file.write_text(f'model = "{MODEL}"\n[input]\nfiles = ["rows.jsonl"]\n{tables}')
    sets = {"retry.max_backoff_s": 0.01, "limits.concurrency": 4} | sets
    return load_job(file, flags={}, sets=sets, environ={}).job


def run(job, out: Path, watched: Watched | None = None):
    key = read_keys(job, {"KEY_1": KEYS[0], "KEY_2": KEYS[1], "GEMINI_API_KEY": KEYS[0]})
    return run_job(job, key=key, out=out, options=(watched or Watched()).options())


def asked(out: Path) -> dict[tuple[str, str, str], int]:
    """(endpoint, project, verdict) -> attempts, as the ledger has them."""
    rows = ledger(out).select(["endpoint", "project", "verdict"]).to_pylist()
    found: dict[tuple[str, str, str], int] = {}
    for row in rows:
        key = (row["endpoint"], row["project"], row["verdict"])
        found[key] = found.get(key, 0) + 1
    return found


def test_endpoints_share_the_rows_by_their_weights_and_the_ledger_says_who_was_asked(tmp_path):
    slow = Settings(seed=7, latency=Latency.fixed(0.01))
    with emulators(slow, slow) as (one, two):
        each = ("weight = 2", "[endpoint.limits]\nconcurrency = 2")
        job = job_over(tmp_path, [one.url, two.url], 90, each=each)
        summary = run(job, tmp_path / "out")
        seen = one.totals().requests, two.totals().requests
    assert (summary.exit_code, summary.totals.by_status) == (Exit.DONE, {Status.OK: 90})
    assert asked(tmp_path / "out") == {(one.url, "p1", "ok"): seen[0], (two.url, "p2", "ok"): seen[1]}
    assert min(seen) >= 15
    proved(tmp_path / "out")


def test_a_dead_endpoint_costs_no_row_and_the_other_goes_on(tmp_path):
    with emulators(Settings(seed=7)) as (alive,):
        summary = run(job_over(tmp_path, [DEAD, alive.url]), tmp_path / "out")
        assert alive.totals().requests == 60
    assert (summary.exit_code, summary.totals.by_status) == (Exit.DONE, {Status.OK: 60})
    assert asked(tmp_path / "out")[alive.url, "p2", "ok"] == 60
    proved(tmp_path / "out")


def test_an_endpoint_that_refuses_its_key_leaves_the_run_with_a_word(tmp_path):
    watched = Watched()
    with emulators(Settings(seed=7, keys=("another",), latency=Latency.fixed(0.002)), Settings(seed=7)) as (one, two):
        summary = run(job_over(tmp_path, [one.url, two.url]), tmp_path / "out", watched)
        refused = one.totals().requests
    assert (summary.exit_code, summary.totals.by_status) == (Exit.DONE, {Status.OK: 60})
    assert refused < 60
    (told,) = [line for line in watched.logged if "leaves the run" in line]
    assert told.startswith(f"{one.url} p1 leaves the run: ")
    assert not any(key in "\n".join(watched.logged) for key in KEYS)


def test_the_last_endpoint_that_refuses_ends_the_run(tmp_path):
    no = Settings(seed=7, keys=("another",))
    with emulators(no, no) as (one, two):
        summary = run(job_over(tmp_path, [one.url, two.url]), tmp_path / "out")
        assert one.totals().requests + two.totals().requests < 40
    assert (summary.exit_code, summary.totals.done) == (Exit.REFUSED, 0)


@pytest.mark.parametrize("policy", ["stop", "wait"])
def test_rows_go_on_at_another_endpoint_when_the_day_of_one_is_used_up(tmp_path, policy):
    with emulators(Settings(seed=7, quotas=(Quota(requests_per_day=10),)), Settings(seed=7)) as (one, two):
        job = job_over(tmp_path, [one.url, two.url], **{"limits.on_day_quota": policy})
        summary = run(job, tmp_path / "out")
        assert one.totals().by_status["200"] == 10
    assert (summary.exit_code, summary.totals.by_status) == (Exit.DONE, {Status.OK: 60})
    proved(tmp_path / "out")


def test_a_run_stops_when_every_day_is_used_up_and_goes_on_with_one_endpoint_more(tmp_path):
    day = Settings(seed=7, quotas=(Quota(requests_per_day=10),))
    with emulators(day, day, Settings(seed=7)) as (one, two, three):
        job = job_over(tmp_path, [one.url, two.url], each=("[endpoint.limits]\nrequests_per_day = 10",) * 2)
        for _ in range(2):
            summary = run(job, tmp_path / "out")
            assert (summary.exit_code, summary.totals.done) == (Exit.STOPPED, 20)
            assert summary.totals.maybe_billed == 0
            assert "type the same command again after 20" in "\n".join(summary.notes)
        assert (one.totals().by_status, two.totals().by_status) == ({"200": 10}, {"200": 10})
        job = job_over(tmp_path, [three.url, one.url], each=("", "[endpoint.limits]\nrequests_per_day = 10"))
        summary = run(job, tmp_path / "out")
    assert (summary.exit_code, summary.totals.by_status) == (Exit.DONE, {Status.OK: 60})
    assert one.totals().requests <= 10 + 10  # it is another project now, whose day nobody has counted
    assert {place for place, _, _ in asked(tmp_path / "out")} == {one.url, two.url, three.url}
    proved(tmp_path / "out")


def fallback_job(tmp_path: Path, url: str, *more: str, **sets: object):
    write_lines(tmp_path / "rows.jsonl", sums(40))
    flags = {"input.files": [str(tmp_path / "rows.jsonl")], "model": MODEL, "endpoint.base_url": url}
    sets = {"fallback_models": list(more), "limits.concurrency": 4, "retry.max_backoff_s": 0.01} | sets
    return load_job(None, flags=flags, sets=sets, environ={}).job


@pytest.mark.parametrize("provider", ["google", "visioncoder"])
def test_the_next_model_answers_once_the_day_of_the_first_is_used_up(tmp_path, provider):
    quotas = (Quota(model=MODEL, requests_per_day=10),)
    with emulators(Settings(seed=7, quotas=quotas)) as (emulator,):
        sets = {"endpoint.provider": provider, "endpoint.key_env": "KEY_1"}
        job = fallback_job(tmp_path, emulator.url, "gemini-2.5-flash-lite", **sets)
        summary = run(job, tmp_path / "out")
    assert (summary.exit_code, summary.totals.by_status) == (Exit.DONE, {Status.OK: 40})
    models = data(tmp_path / "out").column("model").to_pylist()
    assert (models.count(MODEL), models.count("gemini-2.5-flash-lite")) == (10, 30)
    paid = ledger(tmp_path / "out").select(["model", "price_id", "billed"]).to_pylist()
    assert {row["price_id"].partition("@")[0].split(":")[-1].split("/")[-1] for row in paid if row["billed"] == "yes"}
    assert {row["model"] for row in paid if row["billed"] == "yes"} == {MODEL, "gemini-2.5-flash-lite"}
    proved(tmp_path / "out")


def test_the_next_model_answers_where_the_first_is_not_served(tmp_path):
    watched = Watched()
    with emulators(Settings(seed=7, models=("gemini-2.5-pro",), latency=Latency.fixed(0.002))) as (emulator,):
        job = fallback_job(tmp_path, emulator.url, "gemini-2.5-pro")
        summary = run(job, tmp_path / "out", watched)
    assert (summary.exit_code, summary.totals.by_status) == (Exit.DONE, {Status.OK: 40})
    assert set(data(tmp_path / "out").column("model").to_pylist()) == {"gemini-2.5-pro"}
    assert any(line.startswith(f"{emulator.url} {MODEL} is asked no more: not_found") for line in watched.logged)
    proved(tmp_path / "out")


def test_two_keys_of_one_project_are_recognised_and_said_once(tmp_path):
    watched = Watched()
    quotas = (Quota(requests_per_day=40),)
    shared = Settings(seed=7, quotas=quotas, projects=dict.fromkeys(KEYS, "one"), latency=Latency.fixed(0.002))
    with emulators(shared) as (one,):
        summary = run(job_over(tmp_path, [one.url, one.url]), tmp_path / "out", watched)
        assert one.totals().by_status["200"] == 40
    assert (summary.exit_code, summary.totals.done) == (Exit.STOPPED, 40)
    (told,) = [line for line in watched.logged if "keys of one project" in line]
    assert f"{one.url} p1 {MODEL}" in told
    assert f"{one.url} p2 {MODEL}" in told


def test_no_key_is_written_anywhere(tmp_path):
    with emulators(Settings(seed=7, keys=("another",)), Settings(seed=7)) as (one, two):
        run(job_over(tmp_path, [one.url, two.url]), tmp_path / "out")
    for folder, _, names in os.walk(tmp_path):
        for name in names:
            content = (Path(folder) / name).read_bytes()
            assert not any(key.encode() in content for key in KEYS), name


def test_two_endpoints_with_one_key_are_refused(tmp_path):
    job = job_over(tmp_path, [DEAD, DEAD])
    with pytest.raises(JobError, match="endpoint 2 has the key of endpoint 1"):
        read_keys(job, {"KEY_1": KEYS[0], "KEY_2": KEYS[0]})
    with pytest.raises(JobError, match=r"endpoint 2 .*: key_env: KEY_2 is not set"):
        read_keys(job, {"KEY_1": KEYS[0]})
