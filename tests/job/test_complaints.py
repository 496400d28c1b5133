import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from batcher.job.complaints import complaints, said, shown
from batcher.job.spec import Job
from tests.examples import a_few

GOOD = {"name": "a", "model": "m", "input": {"files": ["x"]}}
SECTIONS = {
    name: field.annotation
    for name, field in Job.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
SETTINGS = [(section, name) for section, model in SECTIONS.items() for name in model.model_fields]


def what_is_wrong(document):
    with pytest.raises(ValidationError) as refused:
        Job.model_validate(document)
    errors = refused.value.errors(include_url=False)
    return complaints(errors, document, lambda path: "/".join(map(str, path)) or "here")


def with_setting(section, name, value):
    return GOOD | {section: {**GOOD.get(section, {}), name: value}}


@pytest.mark.parametrize(("section", "name"), SETTINGS)
def test_a_letter_too_many_is_recognised_in_every_setting(section, name):
    (line,) = what_is_wrong(with_setting(section, f"{name}q", 1))

    assert line == f"{section}/{name}q: [{section}] {name}q: unknown key; did you mean '{name}'?"


@pytest.mark.parametrize(("section", "name"), SETTINGS)
def test_a_value_of_no_known_kind_is_refused_where_it_stands(section, name):
    lines = what_is_wrong(with_setting(section, name, ...))

    assert len(lines) == 1
    assert lines[0].startswith(f"{section}/{name}: [{section}] {name}: found ")
    assert ", wanted " in lines[0]
    assert "nput should be" not in lines[0]


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_that_is_no_table(section):
    assert what_is_wrong(GOOD | {section: 3}) == (f"{section}: [{section}]: found 3, wanted a table",)


@pytest.mark.parametrize("section", [name for name in SECTIONS if name not in {"run", "input", "prompt"}])
def test_a_misspelt_section(section):
    assert what_is_wrong(GOOD | {f"{section}q": {}}) == (
        f"{section}q: {section}q: unknown key; did you mean '{section}'?",
    )


@pytest.mark.parametrize(
    ("elsewhere", "section", "here"),
    [
        ("rpm", "limits", "requests_per_minute"),
        ("tpm", "limits", "input_tokens_per_minute"),
        ("max_tokens", "generation", "max_output_tokens"),
        ("stop", "generation", "stop_sequences"),
        ("n", "generation", "candidate_count"),
        ("system_instruction", "prompt", "system"),
        ("url", "endpoint", "base_url"),
        ("max_retries", "retry", "attempts"),
    ],
)
def test_names_from_elsewhere_are_translated(elsewhere, section, here):
    assert what_is_wrong(with_setting(section, elsewhere, 1)) == (
        f"{section}/{elsewhere}: [{section}] {elsewhere}: unknown key; did you mean '{here}'?",
    )
    (on_top,) = what_is_wrong(GOOD | {elsewhere: 1})
    assert on_top.startswith(f"{elsewhere}: {elsewhere}: unknown key")


def test_the_value_of_an_unknown_key_is_not_repeated():
    lines = what_is_wrong(with_setting("endpoint", "api_key", "AIzaCanary"))

    assert "AIzaCanary" not in "".join(lines)


def test_a_union_is_one_complaint():
    assert what_is_wrong(with_setting("run", "max_failed", "many")) == (
        'run/max_failed: [run] max_failed: found "many", wanted a count or a share such as "1%"',
    )


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), "p: x"),
        (("model",), "p: model: x"),
        (("input",), "p: [input]: x"),
        (("input", "files", 2), "p: [input] files[2]: x"),
        (("request", "tools", 0, "a", "b"), "p: [request] tools[0].a.b: x"),
        (("labels", "team"), "p: [labels] team: x"),
    ],
)
def test_a_complaint_names_the_setting_as_the_file_does(path, line):
    assert said("p", path, "x") == line


@a_few
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_a_value_is_shown_on_one_short_line(value):
    assert "\n" not in shown(value)
    assert len(shown(value)) <= 61
