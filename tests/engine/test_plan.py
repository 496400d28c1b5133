import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.engine.plan import MOST_BLOCK_ROWS, block_rows, read_plan
from batcher.errors import PlanChanged, StorageError
from batcher.job.fingerprint import fingerprint
from batcher.job.spec import Input
from batcher.records import Request
from tests.builders import a_job, a_row
from tests.engine.sessions import job_over, plan_of, planned, prompts, write_rows
from tests.media import a_picture

LEAST_BLOCK_TASKS = 256


def test_planning_twice_gives_the_same_plan(tmp_path):
    rows = [*prompts(300), "{broken", {"prompt": "last", "score": 1.5}]
    first = planned(tmp_path, rows, samples=2)
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()}

    again = planned(tmp_path, rows, samples=2)

    assert again.index == first.index
    assert (again.terms, again.schema, again.manifest) == (
        first.terms,
        first.schema,
        {**first.manifest, "format_version": 1},
    )
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()} == files
    assert again.tasks == 2 * len(rows)


def test_two_plans_of_one_input_cut_it_alike(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", prompts(700))
    one, other = (plan_of(job_over(path), tmp_path / name) for name in ("one", "other"))
    assert one.index.blocks == other.index.blocks
    assert one.terms.run_id != other.terms.run_id


@given(
    concurrency=st.integers(1, 10_000),
    samples=st.integers(1, 32_767),
    rpm=st.none() | st.floats(0.1, 1e6),
)
def test_a_block_is_a_minute_of_tasks_within_bounds(concurrency, samples, rpm):
    job = a_job(**{"limits.concurrency": concurrency, "samples": samples, "limits.requests_per_minute": rpm})
    rows = block_rows(job)
    assert 1 <= rows <= MOST_BLOCK_ROWS
    assert rows * samples >= min(LEAST_BLOCK_TASKS, MOST_BLOCK_ROWS * samples) - samples  # a whole number of rows
    a_minute = min(rpm or float("inf"), concurrency * 15)
    assert rows * samples <= max(a_minute, LEAST_BLOCK_TASKS, samples)


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        ({"limits.concurrency": 64}, 960),
        ({"limits.concurrency": 1}, 256),
        ({"limits.concurrency": 64, "limits.requests_per_minute": 600}, 600),
        ({"limits.concurrency": 64, "samples": 10}, 96),
        ({"limits.concurrency": 10_000}, 65_536),
    ],
)
def test_rows_of_a_block(settings, rows):
    assert block_rows(a_job(**settings)) == rows


def test_another_job_is_refused_with_what_differs(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", prompts(3))
    plan_of(job_over(path), tmp_path / "out")
    with pytest.raises(PlanChanged) as refused:
        plan_of(job_over(path, generation__temperature=0.5, model="gemini-2.5-pro"), tmp_path / "out")
    differences = "\n".join(refused.value.differences)
    assert "generation.temperature" in differences
    assert "0.5" in differences
    assert "gemini-2.5-pro" in differences
    assert "-o" in refused.value.hint


def test_what_changes_no_answer_may_change(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", prompts(3))
    first = plan_of(job_over(path), tmp_path / "out")
    settings = {"limits.concurrency": 3, "retry.attempts": 9, "timeouts.total_s": 5.0, "run.max_failed": "5%"}
    assert plan_of(job_over(path, **settings), tmp_path / "out").index == first.index


def test_another_limit_is_another_plan(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", prompts(9))
    plan_of(job_over(path), tmp_path / "out", limit=5)
    assert plan_of(job_over(path), tmp_path / "out", limit=5).tasks == 5
    with pytest.raises(PlanChanged) as refused:
        plan_of(job_over(path), tmp_path / "out", limit=7)
    assert refused.value.differences == ("limit: 5 rows → 7 rows",)


@pytest.mark.parametrize("change", [b'{"prompt":"one more"}\n', b""])
def test_a_changed_input_is_refused(tmp_path, change):
    path = write_rows(tmp_path / "rows.jsonl", prompts(3))
    plan_of(job_over(path), tmp_path / "out")
    path.write_bytes(change and path.read_bytes() + change)
    with pytest.raises(PlanChanged) as refused:
        plan_of(job_over(path), tmp_path / "out")
    assert "rows.jsonl" in refused.value.differences[0]


def test_other_files_than_were_planned_are_refused(tmp_path):
    """The plan reads its own files whatever the job names: to go on in silence would answer another question."""
    one, other = (write_rows(tmp_path / name, prompts(3)) for name in ("one.jsonl", "other.jsonl"))
    plan_of(job_over(one), tmp_path / "out")
    more = job_over(one).model_copy(update={"input": Input(files=(str(one), str(other)))})
    gained, lost = f"{other}: not planned → part of the input", f"{one}: planned → no part of the input"
    for job, differences in ((job_over(other), (lost, gained)), (more, (gained,))):
        with pytest.raises(PlanChanged) as refused:
            plan_of(job, tmp_path / "out")
        assert refused.value.differences == differences


@pytest.mark.parametrize("gone", ["index", "journal.db"])
def test_without_its_state_a_run_does_not_go_on(tmp_path, gone):
    plan = planned(tmp_path, prompts(3))
    (plan.rundir.state / gone).unlink()
    with pytest.raises(StorageError) as refused:
        planned(tmp_path, prompts(3))
    assert "state is gone" in refused.value.message
    assert str(plan.rundir.data) in refused.value.message


def test_a_damaged_index_is_told(tmp_path):
    plan = planned(tmp_path, prompts(3))
    content = bytearray(plan.rundir.index.read_bytes())
    content[-3] ^= 1
    plan.rundir.index.write_bytes(content)
    with pytest.raises(StorageError, match="index is damaged"):
        planned(tmp_path, prompts(3))


def test_a_half_made_plan_is_made_again(tmp_path):
    """Killed after the anchor, before run.json: the anchor of another block count must not stay."""
    path = write_rows(tmp_path / "rows.jsonl", prompts(600))
    plan = plan_of(job_over(path, **{"limits.concurrency": 1}), tmp_path / "out")
    plan.rundir.manifest.unlink()

    again = plan_of(job_over(path, **{"limits.concurrency": 64}), tmp_path / "out")

    assert (plan.blocks, again.blocks) == (3, 1)
    assert [part.name for part in again.rundir.parts()] == ["train-00000-of-00002.parquet"]


def test_parts_without_a_manifest_are_not_written_over(tmp_path):
    plan = planned(tmp_path, prompts(3))
    plan.rundir.part(0, 1).rename(plan.rundir.part(1, 1))
    plan.rundir.manifest.unlink()
    with pytest.raises(StorageError, match=r"parts but no run\.json"):
        planned(tmp_path, prompts(3))


def test_whoever_finds_a_manifest_finds_anchor_index_prices_and_journal(tmp_path):
    """The manifest is written last: a kill at any moment before leaves a folder that is planned anew."""
    plan = planned(tmp_path, prompts(3))
    rundir = plan.rundir
    written = rundir.manifest.stat().st_mtime_ns
    for before in (rundir.part(0, plan.blocks), rundir.index, rundir.prices, rundir.journal):
        assert before.stat().st_mtime_ns <= written
    anchor = pq.ParquetFile(rundir.part(0, plan.blocks))
    assert (anchor.metadata.num_rows, anchor.metadata.num_row_groups) == (0, 0)
    assert anchor.schema_arrow.equals(plan.schema)


def test_quotas_belong_to_project_and_model(tmp_path):
    plan = planned(tmp_path, prompts(1), endpoint__project="p1")
    assert plan.lane("m") == "http://127.0.0.1:1 p1 m"
    assert plan.lane("m") != plan.lane("n")


@pytest.mark.parametrize(
    ("settings", "pictures"),
    [
        ({}, False),
        ({"model": "gemini-2.5-flash-image"}, True),
        ({"generation.response_modalities": ("TEXT", "image")}, True),
        ({"generation.response_modalities": ("TEXT",), "model": "gemini-2.5-flash-image"}, False),
        ({"generation.response_modalities": ()}, False),
        ({"prompt.overrides": {"response_modalities": "wants"}}, True),
    ],
)
def test_pictures_are_a_column_where_the_job_or_its_model_makes_them(tmp_path, settings, pictures):
    plan = planned(tmp_path, [{"prompt": "Paint.", "wants": ["IMAGE"]}], **settings)

    assert plan.terms.images == ("response_images" in plan.schema.names) == pictures
    assert (plan.schema.metadata is not None) == pictures


@pytest.mark.parametrize(("planned_for", "asked_for"), [(("IMAGE",), ("TEXT",)), (("TEXT",), ("IMAGE",))])
def test_a_retry_with_other_modalities_adds_no_column_and_takes_none(tmp_path, planned_for, asked_for):
    plan = planned(tmp_path, prompts(1), **{"generation.response_modalities": planned_for})
    other = job_over(tmp_path / "rows.jsonl", **{"generation.response_modalities": asked_for})
    again = read_plan(other, plan.rundir, plan.manifest)

    assert again.schema.equals(plan.schema, check_metadata=True)
    assert again.terms.images == plan.terms.images


def test_media_are_looked_for_beside_the_input_or_where_the_job_says(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.png").write_bytes(a_picture())
    path = write_rows(tmp_path / "a" / "rows.jsonl", [{"prompt": "?", "image": "0.png"}])
    other = write_rows(tmp_path / "other.jsonl", [{"prompt": "?", "image": "a/0.png"}])
    row, far = (a_row(prompt="?", image=name) for name in ("0.png", "a/0.png"))
    beside = plan_of(job_over(path), tmp_path / "1")
    said = plan_of(job_over(path, **{"input.media_root": str(tmp_path)}), tmp_path / "2")
    both = plan_of(job_over(path, **{"input.files": (str(path), str(other))}), tmp_path / "3")

    assert isinstance(beside.builder.build(row), Request)
    assert isinstance(said.builder.build(far), Request)
    assert both.builder.build(row).message.endswith("the input files lie in several folders; say input.media_root")
    assert fingerprint(beside.job) == fingerprint(said.job)  # another place is no other job
