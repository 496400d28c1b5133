import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.job.lines import dotted, line_at, lines_of

names = st.text("abz_-09", min_size=1, max_size=4)
values = st.sampled_from(
    [
        "1",
        '"a = 1"',
        "'[x]'",
        "[1,\n  2,\n]",
        '"""\n[no]\nb = 2\n"""',
        "'''\n# no\nb = 2'''",
        '"# no"',
        "{ a = 1 }",
        "[[1], [2]]",
    ]
)


def test_finds_tables_keys_and_arrays_of_tables():
    text = """name = "a"  # b = 1
[limits]
concurrency = 3
endpoint.key = 1
[[request.tools]]
a = "x"
[[request.tools]]
a = 2
[request.tools.deep]
b = 3
"""

    assert lines_of(text) == {
        ("name",): 1,
        ("limits",): 2,
        ("limits", "concurrency"): 3,
        ("limits", "endpoint", "key"): 4,
        ("request", "tools", 0): 5,
        ("request", "tools", 0, "a"): 6,
        ("request", "tools", 1): 7,
        ("request", "tools", 1, "a"): 8,
        ("request", "tools", 1, "deep"): 9,
        ("request", "tools", 1, "deep", "b"): 10,
    }


@pytest.mark.parametrize(
    "hidden",
    [
        'x = """\n[limits]\n"""',
        "x = '''\n[limits]\n'''",
        'x = [\n"]",\n[1],\n]',
        'x = "\\"]["',
        "x = 1 # [limits]",
        'x = """a\\"""b"""',
    ],
)
def test_what_stands_in_strings_arrays_and_comments_is_no_table(hidden):
    text = f"{hidden}\nlast = 1"

    assert ("limits",) not in lines_of(text)
    assert lines_of(text)[("last",)] == text.count("\n") + 1


def test_a_quoted_key_keeps_its_dot():
    assert lines_of('[labels]\n"a.b" = "c"\n')[("labels", "a.b")] == 2


@given(st.lists(st.tuples(names, values), unique_by=lambda pair: pair[0], max_size=6), st.integers(0, 3))
def test_every_key_is_found_on_the_line_where_it_stands(pairs, blank):
    text = _text(pairs, blank)
    tomllib.loads(text)
    written = text.split("\n")

    found = lines_of(text)

    assert {path for path in found if len(path) == 2} == {("table", name) for name, _ in pairs}
    for name, _ in pairs:
        assert written[found["table", name] - 1].startswith(f"{name} = ")


@given(st.lists(names, min_size=1, max_size=4))
def test_a_dotted_key_comes_apart_into_its_names(parts):
    assert dotted(".".join(f'"{part}"' for part in parts)) == tuple(parts)
    assert dotted(".".join(parts)) == tuple(parts)


@pytest.mark.parametrize("key", ["", "a b", "a.", "a\nb = 1\nc", "a = 1 #"])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(tomllib.TOMLDecodeError):
        dotted(key)


def test_the_nearest_table_answers_for_what_is_not_written():
    lines = {("limits",): 2, ("limits", "rpm"): 3}

    assert line_at(lines, ("limits", "rpm", 4)) == 3
    assert line_at(lines, ("limits", "other")) == 2
    assert line_at(lines, ("prompt", "template")) is None


def _text(pairs, blank):
    gap = "\n" * blank
    return "[table]\n" + "".join(f"{gap}{name} = {value}\n" for name, value in pairs)
