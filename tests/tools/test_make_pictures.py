import re
from xml.etree import ElementTree as ET

import pytest

from tests.tools.make_pictures import FOLDER, pictures

DRAWN = dict(pictures())


def test_the_pictures_in_the_repository_are_what_the_script_draws():
    assert {path.name for path in FOLDER.iterdir()} == {path.name for path in DRAWN}
    for path, drawn in DRAWN.items():
        assert path.read_text(encoding="utf-8") == drawn, f"{path.name}: python -m tests.tools.make_pictures"


@pytest.mark.parametrize("path", DRAWN, ids=lambda path: path.name)
def test_a_picture_is_small_and_fetches_nothing(path):
    drawn = DRAWN[path]
    ET.fromstring(drawn)
    assert len(drawn) < 10_000
    assert re.findall(r"https?://[^\"]+", drawn) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"@font-face|@import|href", drawn)


@pytest.mark.parametrize("path", DRAWN, ids=lambda path: path.name)
def test_the_readme_shows_it(path):
    assert f"(.github/pictures/{path.name})" in (FOLDER.parents[1] / "README.md").read_text(encoding="utf-8")
