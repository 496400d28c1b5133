"""A run as HTML: whole by itself, and no text of it can do anything."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.errors import Exit
from batcher.records import Status
from batcher.reports.html import run_html
from tests.reports.builders import a_summary, some_totals

INERT = {"div", "style", "p", "b", "bdi", "span", "ul", "li", "i", "dl", "dt", "dd", "details", "summary"}
INERT |= {"table", "thead", "tbody", "tr", "th", "td"}
EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><style>body{display:none}</style>",
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "\u202eesrever",
    "&lt;b&gt;",
]


class Reader(HTMLParser):
    """What a browser would make of it: elements with their attributes, and the text outside of styles."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self.open = [], [], []
        self.feed(html)
        self.close()
        assert self.open == []  # whatever is opened is closed, so that nothing leaks into the page

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)


def a_row(**fields):
    return {"id": "a", "prompt": "What?", "status": "ok", "response": "This.", "input_tokens": 4} | fields


def html(summary=None, first=(), failed=()):
    return run_html(summary or a_summary(), first=first, failed=failed)


@given(text=st.sampled_from(EVIL) | st.text(st.characters(codec="utf-8", exclude_characters="\0\r")))
def test_every_text_is_text(text):
    row = a_row(id=text, prompt=text, response=text, error_kind=text, error_message=text, finish_reason=text)
    summary = a_summary(verdict=text, run_dir=text, notes=(text,))

    read = Reader(html(summary, [row], [a_row(id="b", response=None, error_kind=text)]))

    assert {tag for tag, _ in read.elements} <= INERT
    assert {name for _, attrs in read.elements for name in attrs} <= {"class", "style", "title"}
    assert "".join(read.texts).count(text.strip()) >= 5
    styles = [attrs["style"] for _, attrs in read.elements if "style" in attrs]
    assert all(style.startswith("width: ") for style in styles)


def test_nothing_comes_from_elsewhere_and_nothing_runs():
    page = html(first=[a_row()]).lower()

    assert not [word for word in ("<script", "http", "url(", "@import", "javascript:", "<link", "src=") if word in page]


def test_a_dollar_is_no_formula_and_no_style_leaves_the_box():
    page = html()
    styles = page[page.index("<style>") + 7 : page.index("</style>")]

    assert 'class="batcher-run tex2jax_ignore mathjax_ignore"' in page
    assert all(rule.strip().startswith(".batcher-run") for rule in styles.split("}")[:-1])


def test_colours_of_text_are_the_pages_own():
    """So light and dark both fit: only the badge, on a ground of its own, sets one."""
    page = html(first=[a_row()])

    assert page.count("color: #fff") == 1
    assert "color: inherit" in page


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (Exit.DONE, "done"),
        (Exit.ROWS_FAILED, "rows failed"),
        (Exit.STOPPED, "not finished"),
        (Exit.INTERRUPT, "not finished"),
        (Exit.STORAGE, "failed"),
    ],
)
def test_it_says_first_how_it_ended(code, word):
    texts = [text for text in Reader(html(a_summary(exit_code=code))).texts if text.strip()]
    assert texts[:2] == [word, "done: 164 of 164 rows ok"]


def test_the_bar_shares_out_the_tasks():
    totals = some_totals(by_status={Status.OK: 50, Status.FAILED: 25})
    read = Reader(html(a_summary(tasks=100, totals=totals)))

    bar = [(attrs["class"], attrs["style"], attrs["title"]) for tag, attrs in read.elements if tag == "span"]
    assert bar == [
        ("ok", "width: 50.0%", "50 ok"),
        ("failed", "width: 25.0%", "25 failed"),
        ("open", "width: 25.0%", "25 open"),
    ]


def test_a_run_of_no_rows_has_no_bar():
    assert "<span" not in html(a_summary(tasks=0, rows=0, totals=some_totals(0)))


def test_long_texts_are_cut_and_say_by_how_much():
    page = html(first=[a_row(response="x" * 1_500)])

    assert "x" * 280 + "… (+1,220 chars)" in page
    assert "x" * 281 not in page


def test_a_row_without_an_answer_says_why():
    row = a_row(response=None, status="failed", error_kind="http_503", error_message="overloaded")

    assert '<bdi class="why">http_503: overloaded</bdi>' in html(failed=[row])
    assert "<details>" not in html(first=[row], failed=[row])  # it is shown already
