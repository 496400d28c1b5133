from __future__ import annotations

from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.prompts.budget import MAX_RENDERED_CHARACTERS, TooLargeError
from batcher.prompts.sandbox import NullError, Sandbox, text_of
from tests.examples import a_few
from tests.strategies import json_values, texts


def shown(source: str, **values: Any) -> str:
    return Sandbox().from_string(source).render(**values)


@a_few
@given(json_values.filter(lambda value: value is not None))
def test_every_value_but_null_prints(value: Any) -> None:
    assert shown("{{ v }}", v=value) == text_of(value)


@given(texts)
def test_text_prints_bare(text: str) -> None:
    assert text_of(text) is text


def test_a_null_never_prints() -> None:
    with pytest.raises(NullError):
        text_of(None)


def test_what_is_undefined_never_prints() -> None:
    with pytest.raises(jinja2.UndefinedError):
        text_of(jinja2.StrictUndefined(name="x"))


@given(st.text("ab", min_size=1, max_size=3), st.integers(-3, 20_000_000))
def test_repeating_is_bounded_by_what_it_would_make(text: str, times: int) -> None:
    source = "{{ (text * times) | length }}"
    if len(text) * times > MAX_RENDERED_CHARACTERS:
        with pytest.raises(TooLargeError):
            shown(source, text=text, times=times)
    else:
        assert shown(source, text=text, times=times) == str(len(text) * max(0, times))


@pytest.mark.parametrize("expression", ["text + text", "(text * 2) | length", "times * text"])
def test_growing_by_doubling_is_bounded(expression: str) -> None:
    with pytest.raises(TooLargeError):
        shown("{{ " + expression + " }}", text="x" * (MAX_RENDERED_CHARACTERS // 2 + 1), times=2)


def test_a_bomb_does_not_go_off_while_it_is_compiled() -> None:
    template = Sandbox().from_string("{{ 'a' * 10**10 }}")

    with pytest.raises(TooLargeError):
        template.render()


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ range.__globals__ }}",
        "{{ x.append(1) }}",
        "{{ ''.join.__self__.__class__ }}",
        "{{ '{0.__class__.__mro__}'.format(1) }}",
        "{{ ('%s' | attr('__class__')) }}",
    ],
)
def test_no_way_leads_to_python(source: str) -> None:
    with pytest.raises((jinja2.sandbox.SecurityError, jinja2.UndefinedError)):
        shown(source, x=[])


def test_the_text_generator_is_not_there() -> None:
    with pytest.raises(jinja2.UndefinedError):
        shown("{{ lipsum() }}")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ 'a' | center(3) }}", " a "),
        ("{{ 'a\nb' | indent }}", "a\n    b"),
        ("{{ 'a\nb' | indent(width=1, first=true) }}", " a\n b"),
        ("{{ '%.2f' | format(x) }}", "0.50"),
        ("{{ '{:.1f}'.format(x) }}", "0.5"),
        ("{{ x ** 2 }}", "0.25"),
        ("{{ '' | default('d', true) }}", "d"),
        ("{{ '' | default('d') }}", ""),
        ("{{ none | default('d') }}", "d"),
        ("{{ y is defined }} {{ y is undefined }}", "false true"),
    ],
)
def test_what_templates_commonly_do_works(source: str, text: str) -> None:
    assert shown(source, x=0.5) == text
