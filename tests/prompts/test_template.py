from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.errors import JobError
from batcher.prompts.budget import MAX_RENDERED_CHARACTERS
from batcher.prompts.sandbox import Sandbox
from batcher.prompts.template import Template
from batcher.records import Problem
from tests.builders import a_row
from tests.strategies import texts

COLUMNS = ("question", "answer", "meta", "n", "a column")


def compiled(source: str, columns: tuple[str, ...] = COLUMNS) -> Template:
    return Template(source, setting="[prompt] template", columns=columns, where="prompts.jsonl")


def rendered(source: str, **values: Any) -> str | Problem:
    return compiled(source).render(a_row(16, **(values or {"question": "q"})))


def refused(source: str) -> JobError:
    with pytest.raises(JobError) as caught:
        compiled(source)
    return caught.value


@given(texts, texts)
def test_what_a_row_holds_is_printed_as_it_is(question: str, answer: str) -> None:
    assert rendered("{{ question }} | {{ answer }}", question=question, answer=answer) == f"{question} | {answer}"


@pytest.mark.parametrize("data", ["{{ answer }}", "{% for x in y %}", "{0.__class__}", "${x}", "<b>&amp;", "{# x #}"])
@pytest.mark.parametrize("source", ["{{ question }}", "{{ question | trim }}", "{{ row.question }}"])
def test_data_is_never_rendered_again(source: str, data: str) -> None:
    assert rendered(source, question=data, answer="secret") == data


@given(st.text("ab{}% \n", max_size=8), texts, st.booleans() | st.integers() | texts | st.lists(texts, max_size=2))
def test_the_short_way_renders_as_jinja_does(head: str, question: str, n: Any) -> None:
    source = "{% raw %}" + head + "{% endraw %}{{ question }} and {{ n }}!\n"
    short = compiled(source)
    wanted = Sandbox().from_string(source).render(question=question, n=n)

    assert short._parts
    assert short.render(a_row(question=question, n=n)) == wanted


@pytest.mark.parametrize(
    ("value", "text"),
    [(1, "1"), (0.5, "0.5"), (True, "true"), ({"a": [1, None]}, '{"a":[1,null]}'), (["ä"], '["ä"]'), ("", "")],
)
@pytest.mark.parametrize("source", ["{{ n }}", "{% if true %}{{ n }}{% endif %}"])
def test_values_print_as_the_file_has_them(source: str, value: Any, text: str) -> None:
    assert rendered(source, n=value) == text


@pytest.mark.parametrize("source", ["{{ question }}", "{% if true %}{{ question }}{% endif %}"])
@pytest.mark.parametrize("values", [{"question": None}, {"n": 1}])
def test_a_null_is_a_problem_of_its_row(source: str, values: dict[str, Any]) -> None:
    assert rendered(source, **values) == Problem(
        kind="bad_input", message="prompts.jsonl:17: column 'question' is null"
    )


def test_a_null_inside_a_value_is_a_problem_too() -> None:
    assert rendered("{{ meta.a }}", meta={"a": None}) == Problem(
        kind="bad_input", message="prompts.jsonl:17: [prompt] template prints a null"
    )


@pytest.mark.parametrize("values", [{"question": None}, {"n": 1}])
@pytest.mark.parametrize(
    "source",
    [
        "{{ question | default('none') }}",
        "{{ question | d('none') }}",
        "{% if question is none %}none{% else %}{{ question }}{% endif %}",
        "{% if question is defined %}{{ question }}{% else %}none{% endif %}",
        "{% if question %}{{ question }}{% else %}none{% endif %}",
    ],
)
def test_a_template_can_say_what_to_do_with_a_null(source: str, values: dict[str, Any]) -> None:
    assert rendered(source, **values) == "none"
    assert rendered(source, question="q") == "q"


def test_a_column_that_is_not_there_is_refused_with_its_neighbour() -> None:
    error = refused("Q: {{ qestion }}")

    assert error.message == ("[prompt] template: column 'qestion' not found in prompts.jsonl; did you mean 'question'?")
    assert error.hint == "its columns: question, answer, meta, n, a column"


def test_no_column_is_refused_when_nobody_knows_them() -> None:
    assert compiled("{{ anything }}", columns=()).columns == {"anything"}


def test_a_template_says_which_columns_it_reads() -> None:
    assert compiled("{% for x in meta %}{{ x }}{{ question }}{% endfor %}{{ range(3) | join }}").columns == {
        "meta",
        "question",
    }
    assert compiled("{{ row['a column'] }}").columns == set(COLUMNS)


def test_any_column_is_reached_through_the_row() -> None:
    assert rendered("{{ row['a column'] }}", **{"a column": "x"}) == "x"


def test_a_column_is_stronger_than_a_name_of_jinjas() -> None:
    template = compiled("{{ range }} {{ row }}", columns=("range", "row"))

    assert template.render(a_row(range="5-7", row="r")) == "5-7 r"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a\n{{ question", "[prompt] template, line 2: unexpected end of template, expected 'end of print statement'."),
        ("{{ question | nonsense }}", "[prompt] template, line 1: No filter named 'nonsense'."),
        ("{% include 'x' %}", "[prompt] template, line 1: a template cannot include another"),
        ("\n{% import 'x' as y %}", "[prompt] template, line 2: a template cannot import another"),
    ],
)
def test_a_broken_template_is_refused_with_its_line(source: str, message: str) -> None:
    assert refused(source).message == message


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 10**8 }}",
        "{{ n * question }}",
        "{{ [question] * n }}",
        "{{ 10 ** (10 ** 8) }}",
        "{{ '{:>99999999}'.format(n) }}",
        "{{ '{:>{}}'.format(n, n) }}",
        "{{ '%100000000d' | format(n) }}",
        "{{ '%*d' % (n, n) }}",
        "{{ question | center(n) }}",
        "{{ question | indent(n) }}",
        "{% for a in range(9999) %}{% for b in range(9999) %}{{ question }}{% endfor %}{% endfor %}",
    ],
)
def test_a_bomb_is_a_row_too_large(source: str) -> None:
    problem = rendered(source, question="x" * 100, n=10**8)

    assert problem == Problem(
        kind="too_large", message="prompts.jsonl:17: [prompt] template: makes more than 8,388,608 characters"
    )


def test_a_prompt_up_to_the_cap_is_made() -> None:
    assert rendered("{{ question }}", question="x" * MAX_RENDERED_CHARACTERS) == "x" * MAX_RENDERED_CHARACTERS
    problem = rendered("{{ question }}!", question="x" * MAX_RENDERED_CHARACTERS)
    assert isinstance(problem, Problem)
    assert problem.kind == "too_large"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("{{ question.__class__ }}", "bad_template"),
        ("{{ question.ljust(10**9) }}", "bad_template"),
        ("{{ '{0.__class__}'.format(n) }}", "bad_template"),
        ("{{ 1 / (n - 1) }}", "bad_template"),
        ("{{ n + question }}", "bad_template"),
        ("{{ meta.append(1) }}", "bad_template"),
        ("{{ range(10**9) | list }}", "bad_template"),
        ("{{ question.nonsense }}", "bad_input"),
        ("{{ meta[7].x }}", "bad_input"),
    ],
)
def test_what_an_expression_ends_in_is_a_problem_of_the_row(source: str, kind: str) -> None:
    problem = rendered(source, question="q", n=1, meta=[])

    assert isinstance(problem, Problem)
    assert problem.kind == kind
    assert problem.message.startswith("prompts.jsonl:17: [prompt] template: ")


def test_json_is_written_for_a_model_not_for_a_web_page() -> None:
    assert rendered("{{ meta | tojson }}", meta={"a": "<b> & 'c'"}) == '{"a":"<b> & \'c\'"}'
    assert rendered("{{ meta | tojson(indent=2) }}", meta=[1]) == "[\n  1\n]"


def test_arithmetic_within_reason_works() -> None:
    assert (
        rendered("{{ '-' * 3 }}{{ n * 2 }}{{ n ** 2 }}{{ '%03d' % n }}{{ '{:>2}'.format(n) }}", n=5) == "---1025005 5"
    )
