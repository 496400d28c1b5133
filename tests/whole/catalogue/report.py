"""Prints the catalogue's table at the end of a session that ran any of it, on one worker or on many.

What a test says of itself travels in its report's user properties, so that the process that prints need not import it.
"""

from __future__ import annotations

import inspect

import pytest

from tests.whole.catalogue.cases import Ran, case_of, table

_KEY = "fault-case"


class Catalogue:
    """A plugin; `tests/conftest.py` registers it."""

    def __init__(self) -> None:
        self._ran: list[Ran] = []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            case = case_of(item.name)
            if case is not None and isinstance(item, pytest.Function):
                first_line = (inspect.getdoc(item.function) or "").partition("\n")[0]
                item.user_properties.append((_KEY, [case, item.location[0], item.location[1] or 0, first_line]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for key, value in report.user_properties:
            # A test that fails before or behind its call, or is skipped, has a say in its set-up and clean-up only.
            if key == _KEY and (report.when == "call" or report.outcome != "passed"):
                case, path, line, holds = value
                self._ran.append(Ran(case, (path, line), holds, report.outcome))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._ran:
            terminalreporter.section("fault catalogue")
            for line in table(self._ran):
                terminalreporter.write_line(line)
