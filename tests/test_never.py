"""What is nowhere in the package, because data could make it do anything: code from text, and formats made of data."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "batcher"
NEVER_CALLED = {"eval", "exec", "compile", "__import__"}
NEVER_IMPORTED = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "telnetlib", "xmlrpc"}

OWN_PATTERNS = {"job/complaints.py", "emulator/texts.py"}  # fill a table of their own constants


def names_imported(node):
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    return {(node.module or "").partition(".")[0]} if isinstance(node, ast.ImportFrom) else set()


def is_format_of_data(node):
    """`x.format(…)` and `x.format_map(…)` of anything but a text that stands there."""
    attribute = node.func
    if not isinstance(attribute, ast.Attribute) or attribute.attr not in {"format", "format_map"}:
        return False
    return not isinstance(attribute.value, ast.Constant)


def faults_of(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        found += [f"{name} is imported" for name in names_imported(node) & NEVER_IMPORTED]
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in NEVER_CALLED:
            found.append(f"{node.func.id} is called in line {node.lineno}")
        if is_format_of_data(node):
            found.append(f"a text that is no constant is formatted in line {node.lineno}")
        shell = [keyword for keyword in node.keywords if keyword.arg == "shell"]
        found += [f"a shell is started in line {node.lineno}" for _ in shell]
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_makes_code_or_formats_of_data(path):
    faults = faults_of(path.read_text("utf-8"))
    if str(path.relative_to(PACKAGE)) in OWN_PATTERNS:
        faults = [fault for fault in faults if "is formatted" not in fault]
    assert faults == []


@pytest.mark.parametrize(
    "source",
    [
        "eval(x)",
        "exec(x)",
        "import pickle",
        "from yaml import load",
        "x.format(1)",
        "x.format_map(y)",
        "r(x, shell=1)",
    ],
)
def test_they_would_be_found(source):
    assert len(faults_of(source)) == 1


@pytest.mark.parametrize("source", ["'{}'.format(1)", "format(x, 'd')", "f'{x}'", "re_compile(x)", "import orjson"])
def test_what_is_harmless_is_not(source):
    assert faults_of(source) == []
