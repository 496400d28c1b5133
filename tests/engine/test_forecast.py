"""A forecast is what the run then does, within its ranges; and it leaves no trace."""

import datetime as dt
import gzip
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batcher.emulator.server import Emulator
from batcher.engine.forecast import forecast
from batcher.engine.local import Options, run_job
from batcher.errors import InputError, JobError, PlanChanged, StorageError
from batcher.job.key import Secret
from batcher.job.load import load_job
from batcher.pacing.learntlimits import Learnt, LearntLimits
from batcher.pacing.statefolder import StateFolder
from tests.whole.runs import KEY, MODEL, emulator_settings, write_lines

NOW = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)
WORDS = "the quick brown fox jumps over the lazy dog and then some more of it"


@pytest.fixture(scope="module")
def endpoint():
    with Emulator(emulator_settings()).in_thread() as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def loaded(here, endpoint):
    """Loads a job over `p.jsonl`; settings by dotted name."""

    def load(**settings):
        flags = {"input.files": ("p.jsonl",), "model": MODEL, "endpoint.base_url": endpoint.url, "output.dir": "out/a"}
        flags |= {name.replace("__", "."): value for name, value in settings.items()}
        return load_job(None, flags=flags, sets=(), environ={})

    return load


@pytest.fixture
def run(here):
    def run(loaded, limit=None, out="out/a"):
        options = Options(show=lambda _: None, log=lambda _: None, limit=limit)
        return run_job(loaded.job, key=Secret(KEY, source="a test"), out=here / out, options=options)

    return run


def rows(count):
    words = WORDS.split()
    return [{"id": f"q{n}", "prompt": f"Say: {' '.join(words[: 3 + n % 9])}?"} for n in range(count)]


def ahead(loaded, here, out="out/a", **options):
    return forecast(loaded, here / out, **{"limit": None, "now": NOW} | options)


def tree(folder):
    return sorted((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*"))


def test_a_new_run(loaded, here):
    write_lines(here / "p.jsonl", rows(50))

    found = ahead(loaded(prompt__system="Be kind.", samples=3), here)

    assert (found.rows, found.rows_exact, found.looked_at, found.samples, found.left) == (50, True, 50, 3, 150)
    assert (found.job, found.model, found.shape, found.id_key, found.prompt_key) == (
        "a",
        MODEL,
        "prompt",
        "id",
        "prompt",
    )
    assert found.files == (("p.jsonl", "jsonl", (here / "p.jsonl").stat().st_size),)
    assert (found.first.id, found.first.where) == ("q0", "p.jsonl:1")
    assert (found.first.prompt, found.first.system) == ("Say: the quick brown?", "Be kind.")
    assert found.first.request["contents"] == [{"role": "user", "parts": [{"text": "Say: the quick brown?"}]}]
    assert found.resume is None
    assert found.estimate.cost_usd.low < found.estimate.cost_usd.likely < found.estimate.cost_usd.high
    assert found.pace.bottleneck == "concurrency"


def test_nothing_is_written(loaded, here):
    write_lines(here / "p.jsonl", rows(5))
    pq.write_table(pa.table({"prompt": ["a"]}), here / "t.parquet")
    before = tree(here)

    ahead(loaded(), here)
    ahead(loaded(input__files=("t.parquet",)), here)
    ahead(loaded(), here, limit=2)

    assert tree(here) == before


def test_nothing_is_written_into_a_run_either(loaded, run, here):
    write_lines(here / "p.jsonl", rows(5))
    run(loaded())
    before = tree(here)

    ahead(loaded(), here)

    assert tree(here) == before


def test_after_a_preview_the_range_holds_what_the_run_takes(loaded, run, here):
    write_lines(here / "p.jsonl", rows(300))
    run(loaded(), limit=60)

    found = ahead(loaded(), here)
    summary = run(loaded())

    tokens, took = summary.totals.tokens, found.estimate
    assert found.assumed.output_from == f"learnt from 60 rows of {here}/out/a.preview"
    assert (found.left, summary.sent) == (240, 240)  # what the preview asked is not asked again
    assert took.input_tokens.low <= tokens.input <= took.input_tokens.high
    assert took.output_tokens.low <= tokens.output <= took.output_tokens.high
    assert took.cost_usd.low <= summary.totals.cost_usd <= took.cost_usd.high


def test_after_one_run_the_estimate_of_the_same_file_is_within_a_tenth(loaded, run, here):
    write_lines(here / "p.jsonl", rows(40))
    summary = run(loaded(), out="out/before")

    found = ahead(loaded(), here)

    assert found.resume is None
    assert abs(found.estimate.cost_usd.likely / summary.totals.cost_usd - 1) < Decimal("0.1")
    assert found.estimate.cost_usd.high / found.estimate.cost_usd.low < Decimal("1.25")


def test_another_job_of_the_same_model_teaches_how_it_counts_tokens(loaded, run, here):
    write_lines(here / "p.jsonl", rows(40))
    run(loaded(), out="out/before")

    found = ahead(loaded(generation__temperature=0.5), here)

    assert found.assumed.input_from == f"learnt from 40 rows of {here}/out/before (the same model, another job)"
    assert found.assumed.output_from.startswith("a guess")


def test_another_model_teaches_nothing_and_neither_do_other_files(loaded, run, here):
    write_lines(here / "p.jsonl", rows(10))
    run(loaded(), out="out/before")
    (here / "out/broken").mkdir()
    (here / "out/broken/run.json").write_text("{")

    assert ahead(loaded(model="gemini-2.5-pro"), here).assumed.input_from.startswith("a guess")


def test_a_run_that_was_stopped_says_what_is_left(loaded, run, here):
    write_lines(here / "p.jsonl", [*rows(8), {"prompt": "[400] no"}, {"prompt": "[400] no"}])
    run(loaded())

    found = ahead(loaded(), here)

    assert (found.resume.done, found.resume.left, found.left) == (10, 0, 0)
    assert found.resume.state == "done: 8 of 10 ok, 2 failed"
    assert found.resume.cost_usd > 0
    assert found.resume.pid is None
    assert found.estimate.cost_usd == (0, 0, 0)
    assert found.pace.time_s == (0, 0, 0)


def test_a_limit_is_a_run_of_its_own(loaded, here):
    write_lines(here / "p.jsonl", rows(50))

    found = ahead(loaded(), here, limit=5)

    assert (found.rows, found.left, found.run_dir) == (5, 5, str(here / "out/a.preview"))


@pytest.mark.parametrize("limit", [None, 40, 2_500])
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_of_a_large_input_the_first_rows_are_looked_at_and_all_are_counted(loaded, here, limit, kind):
    name = f"p.{kind}"
    if kind == "jsonl":
        write_lines(here / name, rows(3_000))
    else:
        pq.write_table(pa.Table.from_pylist(rows(3_000)), here / name, row_group_size=700)

    found = ahead(loaded(input__files=(name,)), here, limit=limit, reads_whole=lambda _: False)

    assert (found.rows, found.rows_exact) == (limit or 3_000, True)
    assert found.looked_at == 40 if limit == 40 else 900 <= found.looked_at <= 1_100


def test_a_large_estimate_is_near_that_of_all_rows(loaded, here):
    write_lines(here / "p.jsonl", rows(3_000))

    whole = ahead(loaded(), here).estimate
    part = ahead(loaded(), here, reads_whole=lambda _: False).estimate

    assert part.input_tokens.likely == pytest.approx(whole.input_tokens.likely, rel=0.02)
    assert part.requests == whole.requests == 3_000


def test_compressed_input_is_read_in_a_temporary_place(loaded, here):
    (here / "p.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "hello"}\n' * 3))
    before = tree(here)

    assert ahead(loaded(input__files=("p.jsonl.gz",)), here).rows == 3
    assert tree(here) == before


def test_rows_that_cannot_be_asked_are_told_and_not_paid_for(loaded, here):
    write_lines(here / "p.jsonl", ["broken", *rows(6), {"prompt": None}])

    found = ahead(loaded(), here)

    assert (found.rows, found.left) == (8, 6)
    count, (first, second) = found.problems
    assert count == 2
    assert first.startswith("p.jsonl:1: not JSON: ")
    assert second == "p.jsonl:8: column 'prompt' is null"
    assert found.first.id == "q0"


def test_an_input_without_rows(loaded, here):
    write_lines(here / "p.jsonl", [])

    found = ahead(loaded(), here)

    assert (found.rows, found.left, found.first, found.looked_at) == (0, 0, None, 0)


def test_what_a_run_would_refuse_is_refused_in_the_same_words(loaded, run, here):
    with pytest.raises(InputError, match=r"^p\.jsonl: no such file$"):
        ahead(loaded(), here)
    write_lines(here / "p.jsonl", rows(3))
    with pytest.raises(JobError, match=r"column 'nme' not found in p\.jsonl"):
        ahead(loaded(prompt__template="{{ nme }}"), here)
    run(loaded())
    with pytest.raises(PlanChanged, match="this run was planned for another job") as refused:
        ahead(loaded(generation__temperature=0.5), here)
    assert refused.value.differences == ("generation.temperature: default → 0.5",)
    write_lines(here / "p.jsonl", rows(4))
    with pytest.raises(PlanChanged, match="the input has changed"):
        ahead(loaded(), here)


def test_parts_without_a_run_are_refused(loaded, here):
    write_lines(here / "p.jsonl", rows(3))
    (here / "out/a/data").mkdir(parents=True)
    pq.write_table(pa.table({"x": [1]}), here / "out/a/data/train-00001-of-00002.parquet")

    with pytest.raises(StorageError, match=r"holds parts but no run\.json"):
        ahead(loaded(), here)


def test_a_price_that_will_change_is_told_sixty_days_before(loaded, here):
    write_lines(here / "p.jsonl", rows(3))

    (change,) = ahead(loaded(model="gemini-3.6-flash"), here).price_changes

    assert (change.model, change.day) == ("gemini-3.6-flash", "2027-01-01")
    assert change.input_usd[1] == 2 * change.input_usd[0]
    early = dt.datetime(2026, 10, 30, tzinfo=dt.UTC)
    assert ahead(loaded(model="gemini-3.6-flash"), here, now=early).price_changes == ()


def test_flex_is_offered_where_its_price_is_known(loaded, here):
    write_lines(here / "p.jsonl", rows(3))

    assert ahead(loaded(), here).flex.cost_usd < ahead(loaded(), here).estimate.cost_usd
    assert ahead(loaded(request__service_tier="flex"), here).flex is None
    unknown = ahead(loaded(model="gemini-99"), here)
    assert (unknown.flex, unknown.estimate.cost_usd, unknown.estimate.unpriced) == (None, None, ("gemini-99",))


def test_rows_may_ask_several_models(loaded, here):
    write_lines(here / "p.jsonl", [{"prompt": "a", "m": "gemini-2.5-pro"}, {"prompt": "b", "m": None}])

    found = ahead(loaded(prompt__overrides={"model": "m"}), here)

    assert found.notes == ("the rows ask 2 models; each has quotas of its own, so it may be faster than this",)


def test_every_setting_has_a_source(loaded, here):
    write_lines(here / "p.jsonl", rows(1))

    settings = {one.name: (one.value, one.source) for one in ahead(loaded(limits__concurrency=3), here).settings}

    assert settings["limits.concurrency"] == (3, "flag --concurrency")
    assert settings["retry.attempts"] == (5, "default")
    assert settings["endpoint.dialect"] == ("google", "provider google")


def test_what_another_run_has_is_not_counted(loaded, run, here):
    write_lines(here / "p.jsonl", rows(6))
    run(loaded(), out="out/before")
    write_lines(here / "p.jsonl", rows(8))

    found = ahead(loaded(reuse=["out/before"]), here)

    assert (found.rows, found.spared, found.left) == (8, 6, 2)
    assert "reuse: 6 answers are those of out/before" in found.notes
    assert run(loaded(reuse=["out/before"])).sent == found.left


def test_rows_that_repeat_a_request_are_counted_and_priced(loaded, run, here):
    write_lines(here / "p.jsonl", [*rows(6), *rows(3)])

    without, shared = ahead(loaded(), here), ahead(loaded(dedup=True), here)

    assert (without.left, shared.left, shared.spared) == (9, 6, 3)
    (note,) = without.notes
    assert note.startswith("3 rows repeat an earlier request: --dedup would ask each request once, about $0.0")
    assert shared.notes == ("dedup: 3 rows repeat an earlier request and will share its answer",)
    assert ahead(loaded(samples=2), here).notes == ()
    assert run(loaded(dedup=True)).sent == shared.left


def test_of_an_input_that_is_not_read_whole_it_says_what_it_has_seen(loaded, here):
    write_lines(here / "p.jsonl", rows(3) * 1_000)
    found = forecast(loaded(), here / "out/a", limit=None, now=NOW, reads_whole=lambda _: False)
    (note,) = [note for note in found.notes if "repeat" in note]
    assert "rows looked at, " in note
    assert note.endswith(" repeat an earlier one's request: --dedup would ask each request once")


def test_limits_that_endpoints_have_told_the_runs_of_this_machine_count(loaded, here, endpoint):
    write_lines(here / "p.jsonl", rows(20))
    told = Learnt(owner=f"{endpoint.url} {MODEL} key-1", quota="requests/min", value=5, at_us=0, run="out/b")
    LearntLimits(StateFolder(here / "state")).put(told)

    found = ahead(loaded(), here, state=here / "state")

    assert found.pace.bottleneck == "requests/min"
    assert "requests/min: 5, as a 429 told out/b on 1970-01-01; batcher limits --forget drops it" in found.notes


def test_a_state_folder_that_cannot_be_read_is_a_note(loaded, here):
    write_lines(here / "p.jsonl", rows(20))
    (here / "limits.json").mkdir()

    assert any(note.startswith("what other runs have learnt") for note in ahead(loaded(), here, state=here).notes)


def test_the_models_behind_the_first_have_their_price_and_every_endpoint_its_share(here, loaded, endpoint):
    write_lines(here / "p.jsonl", [{"prompt": WORDS}] * 10)
    two = [{"base_url": endpoint.url, "project": each, "limits": {"requests_per_minute": 30}} for each in "ab"]
    given = loaded(fallback_models=["gemini-2.5-pro", "gemini-unheard-of"], endpoint=two)
    seen = forecast(given, here / "out" / "a", limit=None, now=NOW, stdin=None, command="")

    (first, dearer), (second, unknown) = seen.behind
    assert (first, second) == ("gemini-2.5-pro", "gemini-unheard-of")
    assert dearer.cost_usd.likely > seen.estimate.cost_usd.likely
    assert unknown.cost_usd is None
    assert seen.endpoint == f"{endpoint.url} a, {endpoint.url} b"
    (minute,) = [limit for limit in seen.pace.limits if limit.name == "requests/min"]
    assert minute.rows_per_min.likely == 60
