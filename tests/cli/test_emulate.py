import json
import signal
import subprocess
import sys
import urllib.request

import click
import pytest

from batcher.cli.app import call
from batcher.cli.emulate import closing_line, emulate, ready_lines, settings_of
from batcher.emulator.faults import Fault, FaultKind, Faults, Share
from batcher.emulator.journal import Totals
from batcher.emulator.quotas import Quota
from batcher.emulator.settings import Latency, Settings, Spelling
from batcher.emulator.streams import Form
from batcher.errors import Exit


def settings(*argv):
    with emulate.make_context("emulate", list(argv)) as ctx:
        return settings_of(ctx.params)


def test_without_flags_it_is_the_emulators_default():
    assert settings() == Settings()


def test_every_flag_reaches_the_settings():
    flags = (
        "--seed 7 --rpm 600 --tpm 400000 --rpd 9 --latency-ms 50-200 --key a --key b --model gemini-x --strict "
        "--spelling snake --streams ndjson --fault 503=3% --fault 429@1=0.05"
    )

    assert settings(*flags.split()) == Settings(
        seed=7,
        keys=("a", "b"),
        models=("gemini-x",),
        spelling=Spelling.SNAKE,
        streams=Form.NDJSON,
        strict=True,
        latency=Latency.between(0.05, 0.2),
        quotas=(Quota(requests_per_minute=600, input_tokens_per_minute=400_000, requests_per_day=9),),
        faults=Faults(
            shares=(
                Share(fault=Fault(kind=FaultKind.UNAVAILABLE), share=0.03),
                Share(fault=Fault(kind=FaultKind.EXHAUSTED, seconds=1.0), share=0.05),
            )
        ),
    )


@pytest.mark.parametrize("text", ["x", "1-x", "-1", "5-1", "nan", "0-inf"])
def test_a_latency_that_is_none(text):
    with pytest.raises(click.BadParameter, match="wanted milliseconds such as 100 or 50-200"):
        settings(f"--latency-ms={text}")


def test_one_latency_is_fixed():
    assert settings("--latency-ms", "100").latency == Latency.fixed(0.1)


def test_a_fault_that_is_none_names_the_kinds(capsys):
    assert call(["emulate", "--fault", "x=1%"]) == Exit.USAGE

    said = capsys.readouterr().err.splitlines()
    assert said[0] == "error: fault: expected KIND[@N]=SHARE, found 'x=1%'"
    assert said[1].startswith("  kinds: ")


def test_the_help_names_every_kind(capsys):
    assert call(["emulate", "--help"]) == Exit.DONE

    assert set(FaultKind) <= set(capsys.readouterr().out.replace(",", " ").split())


def test_a_key_of_its_own_is_not_repeated():
    assert ready_lines("http://127.0.0.1:1", keys=("hunter2",)) == [
        "listening on http://127.0.0.1:1",
        "  export GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:1",
        "  export GEMINI_API_KEY=KEY   # one of the keys given",
    ]


def test_the_closing_line():
    totals = Totals(
        requests=1_020, by_status={"503": 20, "200": 1_000}, answered=1_000, input_tokens=9_876, output_tokens=5
    )

    assert closing_line(totals) == "1,020 requests (200: 1,000, 503: 20), 1,000 answered, 9,876 tokens in, 5 out"
    assert closing_line(Totals()) == "0 requests, 0 answered, 0 tokens in, 0 out"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_its_totals(number):
    process = subprocess.Popen(
        [sys.executable, "-m", "batcher", "emulate"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        url = process.stdout.readline().split()[-1]
        exports = [process.stdout.readline(), process.stdout.readline()]
        request = urllib.request.Request(
            f"{url}/v1beta/models/gemini-x:generateContent",
            data=json.dumps({"contents": [{"parts": [{"text": "hello"}]}]}).encode(),
            headers={"x-goog-api-key": "test", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200

        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()  # or it would outlive a test that fails

    assert (process.returncode, err) == (0, "")
    assert exports == [f"  export GOOGLE_GEMINI_BASE_URL={url}\n", "  export GEMINI_API_KEY=test\n"]
    assert out.startswith("1 requests (200: 1), 1 answered, ")


def test_a_port_that_is_taken(capsys):
    assert call(["emulate", "--host", "192.0.2.1", "--port", "9"]) == Exit.USAGE
    assert capsys.readouterr().err.startswith("error: emulator: cannot listen on 192.0.2.1:9")
