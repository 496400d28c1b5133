"""No template takes the machine down, whatever stands in it or in a row; each bomb ends as the problem of its row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.prompts.budget import MAX_MADE_CHARACTERS, MAX_RENDERED_CHARACTERS, MAX_STEPS, Budget, TooLargeError
from batcher.prompts.template import Template
from batcher.records import Problem
from tests.builders import a_row

SIZE = f"makes more than {MAX_RENDERED_CHARACTERS:,} characters"
STEPS = f"takes more than {MAX_STEPS:,} steps"
A_LOOP = "{% for a in range(n) %}{% for b in range(n) %}"
ENDS = "{% endfor %}{% endfor %}"
BOMBS = {
    "{{ 'a' * 10**8 }}": SIZE,
    "{{ long ~ long }}": SIZE,
    "{{ long + long }}": SIZE,
    "{{ (range(n) | list * 1000) | length }}": SIZE,
    "{{ range(n) | join(long) }}": SIZE,
    "{{ [long, long] | join | length }}": SIZE,
    "{{ long.join(words) | length }}": SIZE,
    "{{ long | replace('a', long) | length }}": SIZE,
    "{{ long.replace('a', 'b' * 1000) | length }}": SIZE,
    "{{ '%s%s' % (long, long) }}": SIZE,
    "{{ ('%(a)s' * 1000) % {'a': 'x' * 1000000} }}": SIZE,
    "{{ ('%s' * 2) | format(long, long) }}": SIZE,
    "{{ '{0}{0}'.format(long) }}": SIZE,
    "{{ '{a}{a}'.format(a=long) }}": SIZE,
    "{{ '%99999999d' % 1 }}": SIZE,
    "{{ '%*d' % (99999999, 1) }}": SIZE,
    "{{ '{:>99999999}'.format(1) }}": SIZE,
    "{{ '{:>{}}'.format(1, 99999999) }}": SIZE,
    "{{ 'a' | center(99999999) }}": SIZE,
    "{{ 'a' | indent(99999999) }}": SIZE,
    "{{ 'a b' | wordwrap(1, wrapstring=long) }}": SIZE,
    "{{ long | wordwrap(1) | length }}": SIZE,
    "{{ 'http://a.b' | urlize(rel=long) }}": SIZE,
    "{{ [1] | batch(10**9, 'x') | list | length }}": SIZE,
    "{{ [1] | slice(10**9) | list | length }}": SIZE,
    "{{ 'a' | truncate(3, end=long) }}": SIZE,
    "{{ 10 ** (10 ** 6) }}": SIZE,
    "{% set ns = namespace(s='a') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}": SIZE,
    "{% set ns = namespace(x=99) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}": SIZE,
    "{% set x %}{% for a in range(n) %}{{ long }}{% endfor %}{% endset %}": SIZE,
    "{% set x %}{% for a in range(n) %}" + "text" * 1000 + "{% endfor %}{% endset %}": SIZE,
    A_LOOP + ENDS: STEPS,
    A_LOOP + "{% set c = 1 %}" + ENDS: STEPS,
    "{% set x %}" + A_LOOP + "x" + ENDS + "{% endset %}": STEPS,
    "{% filter upper %}" + A_LOOP + "x" + ENDS + "{% endfilter %}": STEPS,
    "{% macro f() %}" + A_LOOP + "x" + ENDS + "{% endmacro %}{{ f() }}": STEPS,
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}": STEPS,
    "{% for a in range(n) recursive %}{% if loop.depth < 3 %}{{ loop(range(n)) }}{% endif %}{% endfor %}": STEPS,
    "{% for a in many %}{% for b in many %}{% endfor %}{% endfor %}": STEPS,
}


@pytest.mark.parametrize("source", BOMBS)
def test_a_bomb_is_the_problem_of_its_row(source: str) -> None:
    row = a_row(n=99_999, long="a" * 5_000_000, words=["w"] * 1000, many=list(range(2000)))
    template = Template(source, setting="t", columns=tuple(row.values), where="rows")

    assert template.render(row) == Problem(kind="too_large", message=f"{row.where}: t: {BOMBS[source]}")


@pytest.mark.parametrize("source", ["{{ 'a'.ljust(9) }}", "{{ 'a'.translate({97: 'b'}) }}", "{{ (1).to_bytes(9) }}"])
def test_what_can_be_any_size_is_not_there(source: str) -> None:
    made = Template(source, setting="t", columns=(), where="rows").render(a_row())

    assert isinstance(made, Problem)
    assert "is unsafe" in made.message


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for x in xs %}{{ loop.index }}/{{ loop.length }}{{ ',' if not loop.last }}{% endfor %}", "1/3,2/3,3/3"),
        ("{% for x in xs if x > 1 %}{{ x }}{% else %}none{% endfor %}", "23"),
        ("{% for x in [] %}{{ x }}{% else %}none{% endfor %}", "none"),
        ("{% for k, v in o.items() %}{{ k }}={{ v }};{% endfor %}", "a=1;b=2;"),
        ("{% for x in xs %}{{ loop.previtem | d('-') }}{{ loop.nextitem | d('-') }} {% endfor %}", "-2 13 2- "),
        ("{% for x in tree recursive %}{{ x.n }}{{ loop(x.c) if x.c }}{% endfor %}", "123"),
        ("{{ 'a' ~ 1 ~ none ~ [1] }}", "a1None[1]"),
        ("{{ xs | join(', ') }} {{ ', '.join(words) }}", "1, 2, 3 u, v"),
        ("{{ xs | map('string') | join('-') }} {{ words | join(d='|') }}", "1-2-3 u|v"),
        ("{{ 'abc' | replace('b', 'BB') }} {{ 'abc'.replace('b', '') }}", "aBBc ac"),
        ("{{ '%s of %d' % ('a', 2) }} {{ '%(k)s' % {'k': 'v'} }} {{ '{} {b}'.format(1, b=2) }}", "a of 2 v 1 2"),
        ("{{ 'a b c' | wordwrap(3) }} {{ 'a b c' | truncate(3, true, '…', 0) }}", "a b\nc a …"),
        ("{% for pair in xs | batch(2, 0) %}{{ pair | join }} {% endfor %}", "12 30 "),
        ("{% macro f(n) %}{{ n }}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "3210"),
        ("{% set ns = namespace(n=0) %}{% for x in xs %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}", "6"),
        ("{{ 3 * 4 + 2 ** 5 % 7 }} {{ 'ab' * 2 }} {{ [1] + [2] }}", "16 abab [1,2]"),
    ],
)
def test_what_templates_do_every_day_works(source: str, text: str) -> None:
    tree = [{"n": 1, "c": [{"n": 2, "c": []}]}, {"n": 3, "c": []}]
    row = a_row(xs=[1, 2, 3], o={"a": 1, "b": 2}, words=["u", "v"], tree=tree)

    assert Template(source, setting="t", columns=tuple(row.values), where="rows").render(row) == text


def test_every_row_has_the_whole_budget() -> None:
    template = Template("{% for x in range(n) %}{% endfor %}{{ n }}", setting="t", columns=("n",), where="rows")

    assert [template.render(a_row(n=90_000)) for _ in range(12)] == ["90000"] * 12


@given(st.lists(st.integers(0, MAX_MADE_CHARACTERS), max_size=5))
def test_characters_add_up(sizes: list[int]) -> None:
    budget = Budget()
    fits = sum(sizes) <= MAX_MADE_CHARACTERS

    def spend() -> Any:
        for size in sizes:
            budget.step(size)
        return True

    if fits:
        assert spend()
    else:
        with pytest.raises(TooLargeError, match=SIZE):
            spend()
    budget.begin()
    budget.step(MAX_MADE_CHARACTERS)
