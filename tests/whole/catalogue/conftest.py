"""What the catalogue's files share: emulators that remember what was sent, rows, and where a run goes."""

from __future__ import annotations

import pytest

from batcher.emulator.server import Emulator
from tests.whole.console import batcher_against
from tests.whole.runs import KEY, emulator_settings


@pytest.fixture(scope="module")
def shared():
    """The module's emulator; it keeps every body, and knows the marks of `runs.MARKED`."""
    with Emulator(emulator_settings()).in_thread() as running:
        yield running


@pytest.fixture
def sent(emulator):
    """The prompts that reached the endpoint, in the order of their numbers."""

    def prompts() -> list[str]:
        return [each.prompt_text for each in sorted(emulator.journal, key=lambda each: each.number)]

    return prompts


@pytest.fixture
def here(monkeypatch, tmp_path, emulator):
    """An empty folder to work in, from where the emulator is asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", emulator.url)
    return tmp_path


@pytest.fixture
def batcher(here, emulator, capfd):
    """The command, typed in that folder; what it says is never a traceback."""
    return batcher_against(emulator, capfd)
