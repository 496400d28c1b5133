"""Emulators that a module's tests share; each test finds one that has seen nothing yet."""

from __future__ import annotations

import pytest

from batcher.emulator.server import Emulator
from batcher.emulator.settings import Settings
from tests.whole.console import KEY, MODEL


@pytest.fixture(scope="module")
def shared():
    """The module's emulator; one that needs another kind has a `shared` of its own."""
    with Emulator(Settings(seed=7)).in_thread() as emulator:
        yield emulator


@pytest.fixture
def emulator(shared):
    shared.reset()
    return shared


@pytest.fixture(scope="module")
def endpoint():
    """An emulator that takes one key and has one model."""
    with Emulator(Settings(seed=7, keys=(KEY,), models=(MODEL,))).in_thread() as emulator:
        yield emulator


@pytest.fixture
def home(monkeypatch, tmp_path, endpoint):
    """An empty folder to work in, from where `endpoint` is asked with its key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", endpoint.url)
    return tmp_path
