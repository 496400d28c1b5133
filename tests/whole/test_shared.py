"""Several runs of one machine at once: processes of their own, one endpoint that counts strictly what they send."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from batcher.emulator.faults import Fault, FaultKind, Faults, Rule
from batcher.emulator.quotas import Quota
from batcher.emulator.server import Emulator
from batcher.emulator.settings import Latency, Settings
from batcher.errors import Exit
from tests.whole.processes import Forked
from tests.whole.runs import call, column, environment, run_argv, write_lines

RPM = 600
SOCKET = "batcher/quotas.sock"


def write_rows(folder: Path, name: str, count: int) -> Path:
    return write_lines(folder / f"{name}.jsonl", [{"id": f"{name}{n}", "prompt": f"{name} {n}"} for n in range(count)])


def begun(folder: Path, name: str, url: str, *, rows: int, rpm: int, concurrency: int = 8) -> Forked:
    argv = run_argv(write_rows(folder, name, rows), folder / name, url, "--rpm", str(rpm))
    return Forked([*argv, "--concurrency", str(concurrency)], environment())


def sent_by(emulator: Emulator) -> Counter[str]:
    return Counter(each.prompt_text.partition(" ")[0] for each in emulator.journal)


def until_sent(emulator: Emulator, name: str, count: int) -> None:
    while sent_by(emulator)[name] < count:
        time.sleep(0.05)


@pytest.mark.parametrize("killed", ["first", "second"])
def test_the_other_run_goes_on_when_one_is_killed(tmp_path, state_home, killed):
    """The first run is the broker: when it is killed, the second one takes its place and ends its rows."""
    quota = Quota(requests_per_minute=9000)
    with Emulator(Settings(seed=7, latency=Latency.fixed(0.05), quotas=(quota,))).in_thread() as emulator:
        with begun(tmp_path, "first", emulator.url, rows=400, rpm=9000) as first:
            until_sent(emulator, "first", 5)
            assert (state_home / SOCKET).is_socket()
            with begun(tmp_path, "second", emulator.url, rows=400, rpm=9000) as second:
                until_sent(emulator, "second", 5)
                {"first": first, "second": second}[killed].kill()
                other = {"first": second, "second": first}[killed]
                ended = other.ends(within_s=100)
        survivor = {"first": "second", "second": "first"}[killed]
        assert ended.returncode == Exit.DONE, ended.stderr
        assert "not shared" not in ended.stderr
        assert column(tmp_path / survivor, "status") == ["ok"] * 400
        assert emulator.totals().by_status == {"200": emulator.totals().answered}
    assert not (state_home / SOCKET).exists()  # the last one has ended it


def test_a_run_without_quotas_never_touches_the_state_folder(tmp_path, state_home):
    with Emulator(Settings(seed=7)).in_thread() as emulator:
        argv = run_argv(write_rows(tmp_path, "a", 3), tmp_path / "a", emulator.url)
        assert call(*argv).returncode == Exit.DONE
        assert call(*argv, "--rpm", "600", "--set", "limits.shared=false").returncode == Exit.DONE
        assert not state_home.exists()
        assert (
            call(*run_argv(tmp_path / "a.jsonl", tmp_path / "b", emulator.url, "--rpm", "600")).returncode == Exit.DONE
        )
        assert (state_home / "batcher").is_dir()


def test_where_nothing_can_be_shared_a_run_says_so_and_goes_on(tmp_path, state_home):
    state_home.write_text("no folder")
    with Emulator(Settings(seed=7)).in_thread() as emulator:
        argv = run_argv(write_rows(tmp_path, "a", 3), tmp_path / "a", emulator.url, "--rpm", "600")
        ended = call(*argv)
    assert ended.returncode == Exit.DONE
    assert f"quotas are not shared with other runs: {state_home / 'batcher'}: Not a directory" in ended.stderr


def test_the_limit_that_a_429_tells_is_kept_for_the_next_run(tmp_path, state_home):
    rule = Rule(fault=Fault(kind=FaultKind.MINUTE_REQUESTS, seconds=0.01), first=1)
    with Emulator(Settings(seed=7, faults=Faults(script=(rule,)))).in_thread() as emulator:
        argv = run_argv(write_rows(tmp_path, "a", 3), tmp_path / "a", emulator.url)
        ended = call(*argv)
        assert ended.returncode == Exit.DONE, ended.stderr
        listed = call("limits").stdout
        planned = call("plan", *argv[1:])
    assert "requests/min" in listed
    assert "as a 429 told" in " ".join(planned.stdout.split())
    assert (state_home / "batcher" / "limits.json").stat().st_mode & 0o777 == 0o600


# --- acceptance: together nearly all of the quota, and of a dead one's part nothing is lost


def share(emulator: Emulator, from_s: float, to_s: float) -> float:
    """Of the quota, what was answered in that time of the emulator's."""
    answered = sum(from_s <= each.at_s < to_s and each.http_status == 200 for each in emulator.journal)
    return answered / (RPM * (to_s - from_s) / 60)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("killed", ["first", "second"])
def test_two_processes_use_one_quota_and_the_survivor_has_it_whole(tmp_path, killed):
    settings = Settings(seed=7, latency=Latency.between(0.5, 2.0), quotas=(Quota(requests_per_minute=RPM),))
    with Emulator(settings).in_thread() as emulator:
        first = begun(tmp_path, "first", emulator.url, rows=6000, rpm=RPM, concurrency=64)
        second = begun(tmp_path, "second", emulator.url, rows=6000, rpm=RPM, concurrency=64)
        with first, second:
            until_sent(emulator, "first", 1)
            until_sent(emulator, "second", 1)
            both_s = max(
                next(each.at_s for each in emulator.journal if each.prompt_text.startswith(name))
                for name in ("first", "second")
            )
            _sleep_until(emulator, both_s + 75)
            {"first": first, "second": second}[killed].kill()
            killed_s = emulator.journal[-1].at_s
            _sleep_until(emulator, killed_s + 95)
        together = share(emulator, both_s + 10, both_s + 70)
        alone = share(emulator, killed_s + 30, killed_s + 90)
        totals = emulator.totals()
        refused = totals.by_status.get("429", 0) / totals.requests
        counts = sent_by(emulator)
    print(f"together {together:.2%}, the survivor {alone:.2%}, refused {refused:.3%}, {dict(counts)}")
    assert together >= 0.96
    assert alone >= 0.96
    assert refused < 0.005


def _sleep_until(emulator: Emulator, at_s: float) -> None:
    while emulator.journal[-1].at_s < at_s:
        time.sleep(0.5)
