import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from batcher.datasets.markdown import block, code, visible

TEXTS = st.text(max_size=30) | st.text(st.sampled_from("`~|\\\n \ta<!-[]()"), max_size=20)


@given(text=TEXTS)
def test_inline_code_is_one_thing_on_one_line(text):
    (_, inline, _) = MarkdownIt().parse(code(text))
    assert "\n" not in code(text)
    assert [child.type for child in inline.children] == ["code_inline"]


@given(text=TEXTS)
def test_a_block_keeps_every_line(text):
    (fence,) = MarkdownIt().parse(f"{block(text)}\n")
    assert fence.type == "fence"
    assert fence.content == f"{visible(text)}\n"


@given(text=st.text())
def test_nothing_invisible_is_left(text):
    assert all(letter in "\n\t" or unicodedata.category(letter)[0] != "C" for letter in visible(text))


def test_a_long_text_is_cut():
    assert code("x" * 400, longest=10) == "`xxxxxxxxxx…(+390 chars)`"
    assert code("a | b ` c") == "`a \\| b ' c`"
