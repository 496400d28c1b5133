"""Laws of precedence: whatever the layers say, the highest one that speaks is heard, and named as the source."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batcher.job.draft import Draft
from batcher.job.load import load_job

SETTINGS = {
    "limits.concurrency": st.integers(1, 10_000),
    "limits.requests_per_minute": st.floats(0.5, 1e6),
    "generation.temperature": st.floats(0, 2),
    "generation.max_output_tokens": st.integers(1, 65_536),
    "retry.attempts": st.integers(1, 100),
    "timeouts.total_s": st.floats(0.5, 1e4),
    "run.drain_s": st.floats(0, 100),
}
layer = st.fixed_dictionaries({}, optional=SETTINGS)


def toml(values):
    tables = {}
    for setting, value in values.items():
        section, _, name = setting.partition(".")
        tables.setdefault(section, []).append(f"{name} = {value!r}")
    return "\n".join(line for section, lines in tables.items() for line in (f"[{section}]", *lines))


def line_of(text, name):
    return next(number for number, line in enumerate(text.split("\n"), start=1) if line.startswith(f"{name} = "))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(layer, layer, layer)
def test_the_highest_layer_that_speaks_is_heard_and_named(tmp_path, in_file, in_flags, in_sets):
    file = tmp_path / "job.toml"
    text = f'model = "m"\ninput.files = ["a"]\n{toml(in_file)}\n'
    file.write_text(text)

    loaded = load_job(file, flags=in_flags, sets=[f"{name}={value!r}" for name, value in in_sets.items()], environ={})

    for setting in SETTINGS:
        section, _, name = setting.partition(".")
        value, source = getattr(getattr(loaded.job, section), name), loaded.sources[setting]
        if setting in in_sets:
            assert (value, source) == (in_sets[setting], f"flag --set {setting}")
        elif setting in in_flags:
            assert value == in_flags[setting]
            assert source.startswith("flag --")
        elif setting in in_file:
            assert (value, source) == (in_file[setting], f"{file}:{line_of(text, name)}")
        else:
            assert source == "default"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(layer)
def test_a_setting_says_the_same_in_a_file_as_a_flag_or_by_set(tmp_path, values):
    flags = {"name": "a", "model": "m", "input.files": ("a",), "output.dir": "o"}
    file = tmp_path / "job.toml"
    file.write_text(f'name = "a"\nmodel = "m"\ninput.files = ["{tmp_path}/a"]\noutput.dir = "o"\n{toml(values)}\n')
    from_file = load_job(file, flags={"input.files": ("a",)}, sets=(), environ={}).job

    by_flags = load_job(None, flags=flags | values, sets=(), environ={}).job
    by_sets = load_job(None, flags=flags, sets=[f"{name}={value!r}" for name, value in values.items()], environ={}).job

    assert by_flags == by_sets == from_file


def a_draft(tmp_path, document=None):
    return Draft(
        origin="job.toml",
        folder=tmp_path / "job",
        cwd=tmp_path,
        document=document or {},
        sources={("prompt",): "job.toml:3", ("prompt", "template_file"): "job.toml:4"},
        wrong=[],
    )


def test_the_place_of_what_nobody_wrote_is_the_nearest_thing_that_somebody_did(tmp_path):
    draft = a_draft(tmp_path)

    assert draft.place(("prompt", "template_file")) == "job.toml:4"
    assert draft.place(("prompt", "system")) == "job.toml:3"
    assert draft.place(("limits", "concurrency")) == "job.toml"


def test_a_setting_written_into_something_that_is_no_table_replaces_it(tmp_path):
    draft = a_draft(tmp_path, {"limits": 3})

    draft.set(("limits", "concurrency"), 5, "flag --concurrency")

    assert draft.document == {"limits": {"concurrency": 5}}
    assert draft.place(("limits", "concurrency")) == "flag --concurrency"
    assert draft.place(("limits",)) == "job.toml"


@pytest.mark.parametrize(
    ("said", "taken_back"),
    [
        (("prompt", "template"), "template_file"),
        (("prompt", "template_file"), "template"),
        (("prompt", "system"), "system_file"),
        (("endpoint", "key_file"), "key_command"),
        (("endpoint", "key_command"), "key_file"),
    ],
)
def test_who_says_a_setting_in_one_spelling_takes_the_other_back(tmp_path, said, taken_back):
    draft = a_draft(tmp_path, {said[0]: {taken_back: "old"}})

    draft.set(said, "new", "flag --set")

    assert draft.document == {said[0]: {said[1]: "new"}}


def test_a_path_is_relative_to_where_it_was_written(tmp_path):
    draft = a_draft(tmp_path)
    assert draft.path_of(("prompt", "template_file"), "p.txt") == tmp_path / "job" / "p.txt"
    assert draft.path_of(("prompt", "template_file"), "/p.txt").as_posix() == "/p.txt"

    draft.set(("prompt", "template_file"), "p.txt", "flag --set prompt.template_file")
    assert draft.path_of(("prompt", "template_file"), "p.txt") == tmp_path / "p.txt"
