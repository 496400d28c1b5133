"""Nothing outside of the folder is read, whatever the data says and whoever changes the folder meanwhile."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from batcher.prompts.beneath import TooLongError, read_beneath

MOST = 1_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "a.png").write_bytes(b"inside")
    (folder / "sub" / "deep" / "b.png").write_bytes(b"deeper")
    (tmp_path / "secret").write_bytes(b"outside")
    (tmp_path / "root-neighbour").mkdir()
    (tmp_path / "root-neighbour" / "c.png").write_bytes(b"outside")
    return folder


def refused(root: Path, name: str) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        read_beneath(root, name, most_bytes=MOST)
    return str(caught.value)


@pytest.mark.parametrize(
    "name", ["a.png", "./a.png", "sub/../a.png", "sub/deep/../../a.png", "//a.png", "sub//../a.png"]
)
def test_a_file_beneath_is_read(root: Path, name: str) -> None:
    name = str(root / "a.png") if name.startswith("//") else name

    assert read_beneath(root, name, most_bytes=MOST) == b"inside"


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "sub/../../secret",
        "/etc/passwd",
        "..",
        "../root-neighbour/c.png",
        "",
        ".",
        "sub/..",
        "/",
        "~/x/../../..",
    ],
)
def test_whatever_leads_outside_is_refused(root: Path, name: str) -> None:
    assert refused(root, name).startswith(("leads outside of", "no such file")), name


def test_the_folder_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)

    assert read_beneath(tmp_path / "link", "sub/deep/b.png", most_bytes=MOST) == b"deeper"


def test_links_lead_anywhere_inside_and_nowhere_else(root: Path, tmp_path: Path) -> None:
    (root / "inside").symlink_to("sub/deep/b.png")
    (root / "folder").symlink_to("sub/deep")
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "up").symlink_to("..")
    (root / "sub" / "chain").symlink_to("../up/secret")
    (root / "loop").symlink_to("loop")
    (root / "gone").symlink_to("nothing")

    assert read_beneath(root, "inside", most_bytes=MOST) == b"deeper"
    assert read_beneath(root, "folder/b.png", most_bytes=MOST) == b"deeper"
    for name in ("out", "up/secret", "sub/chain", "up/root-neighbour/c.png"):
        assert refused(root, name).startswith("leads outside of"), name
    assert refused(root, "loop")
    assert refused(root, "gone").startswith("no such file")


def test_a_link_that_is_put_there_after_the_check_is_not_followed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path is resolved, then it is changed: what is opened is what was checked, or nothing."""
    resolve = os.path.realpath

    def resolved_then_swapped(path: object, **options: bool) -> str:
        found = resolve(path, **options)
        if found.endswith("b.png"):
            (root / "sub").rename(tmp_path / "moved")
            (tmp_path / "evil" / "deep").mkdir(parents=True)
            (tmp_path / "evil" / "deep" / "b.png").write_bytes(b"outside")
            (root / "sub").symlink_to(tmp_path / "evil")
        return found

    monkeypatch.setattr(os.path, "realpath", resolved_then_swapped)

    assert refused(root, "sub/deep/b.png").startswith("cannot be read")


def test_only_regular_files_are_read_and_none_holds_us_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "fifo")
    held = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(root)  # the path of a socket is short
    held.bind("sock")
    held.close()

    assert refused(root, "fifo") == "is no regular file"
    assert refused(root, "sock").startswith("cannot be read")
    assert refused(root, "sub") == "is no regular file"


@pytest.mark.parametrize("name", ["nothing.png", "a.png/x", "sub/nothing/x", "x" * 300, "a\0b"])
def test_what_is_not_there_is_said(root: Path, name: str) -> None:
    assert refused(root, name).startswith(("no such file beneath", "cannot be read", "no path"))


def test_a_long_file_is_refused_unread(root: Path) -> None:
    with (root / "long").open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(TooLongError) as caught:
        read_beneath(root, "long", most_bytes=MOST)
    assert caught.value.size_bytes == 1 << 40


def test_a_file_that_says_nothing_of_its_size_is_bounded_too() -> None:
    with pytest.raises(TooLongError):  # procfs: 0 bytes, says fstat
        read_beneath(Path("/proc/self"), "smaps", most_bytes=10)
    assert read_beneath(Path("/proc/self"), "comm", most_bytes=MOST)


def test_an_empty_file_is_empty(root: Path) -> None:
    (root / "empty").touch()

    assert read_beneath(root, "empty", most_bytes=MOST) == b""
