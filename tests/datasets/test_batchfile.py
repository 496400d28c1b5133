import io
from collections import Counter

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.datasets.batchfile import BatchLines, Keys
from batcher.gemini.request import encode, text_request
from batcher.job.spec import Dialect
from tests.builders import a_request

LABELS = st.lists(st.sampled_from(["a", "b", "a#1", "a#2", "a#2#2", "", "é\x00"]), max_size=12)


@given(labels=LABELS)
def test_keys_differ_and_begin_with_the_id(labels):
    keys = Keys()
    given_ = [keys.key(label, task) for task, label in enumerate(labels)]
    keys.close()
    assert len(set(given_)) == len(labels)
    for label, key in zip(labels, given_, strict=True):
        assert key == label or key.startswith(f"{label}#")
    assert keys.renamed == sum(key != label for key, label in zip(given_, labels, strict=True))


@given(labels=st.lists(st.text(max_size=5), unique=True, max_size=8))
def test_an_id_that_is_unique_is_the_key(labels):
    keys = Keys()
    assert [keys.key(label, task) for task, label in enumerate(labels)] == labels
    keys.close()


def test_a_second_sample_names_its_task():
    keys = Keys()
    assert [keys.key("a", 0), keys.key("a", 1), keys.key("a#1", 2)] == ["a", "a#1", "a#1#2"]
    keys.close()


@pytest.mark.parametrize("dialect", list(Dialect))
@given(prompts=st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=4))
def test_each_line_is_a_request_as_google_takes_it(dialect, prompts):
    base = {"generation_config": {"temperature": 0.5, "max_output_tokens": 5}}
    sink = io.BytesIO()
    lines = BatchLines(sink, dialect)
    for task, prompt in enumerate(prompts):
        body = encode(text_request(base, prompt), dialect=dialect, model="gemini-2.5-flash")
        lines.add(f"row {task}", task, a_request(prompt, body=body))
    lines.close()
    found = [orjson.loads(line) for line in sink.getvalue().splitlines()]
    assert [line["key"] for line in found] == [f"row {task}" for task in range(len(prompts))]
    for line, prompt in zip(found, prompts, strict=True):
        assert line.keys() == {"key", "request"}
        assert line["request"] == {
            "contents": [{"role": "user", "parts": [{"text": prompt}]}],
            "generationConfig": {"temperature": 0.5, "maxOutputTokens": 5},
        }
    assert lines.size_bytes == len(sink.getvalue())
    assert lines.models == Counter({"gemini-2.5-flash": len(prompts)})
