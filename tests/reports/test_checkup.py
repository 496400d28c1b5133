from batcher.engine.checkup import Check, Checkup, State
from batcher.reports.checkup import checkup_json, checkup_lines

FOUND = Checkup(
    checks=(
        Check(name="python", state=State.OK, found="3.12.4"),
        Check(name="proxy", state=State.WARN, found="HTTPS_PROXY is set", hint="--set endpoint.trust_env=true"),
        Check(name="key", state=State.FAIL, found="no [red]key[/red]\x1b[31m", hint="export GEMINI_API_KEY=…"),
    )
)


def test_each_line_says_what_to_type():
    assert checkup_lines(FOUND, width=80) == [
        "not ready: 1 thing to mend",
        "",
        "  ok    python  3.12.4",
        "  warn  proxy   HTTPS_PROXY is set",
        "                → --set endpoint.trust_env=true",
        "  fail  key     no [red]key[/red]\ufffd[31m",
        "                → export GEMINI_API_KEY=…",
    ]


def test_colours_where_they_are_wanted():
    assert "\x1b[32mok" in "\n".join(checkup_lines(FOUND, width=80, colour=True))


def test_json_says_the_same():
    assert checkup_json(FOUND) == {
        "verdict": "not ready: 1 thing to mend",
        "exit_code": 2,
        "checks": [
            {"name": "python", "state": "ok", "found": "3.12.4", "hint": ""},
            {"name": "proxy", "state": "warn", "found": "HTTPS_PROXY is set", "hint": "--set endpoint.trust_env=true"},
            {
                "name": "key",
                "state": "fail",
                "found": "no [red]key[/red]\x1b[31m",
                "hint": "export GEMINI_API_KEY=…",
            },
        ],
    }
