import os
import stat
import threading
from pathlib import Path

import pytest

from batcher.errors import StorageError, UserError
from batcher.store.target import check_target, written


def write(path, content=b"new", *, force=False):
    with written(path, force=force) as file:
        file.write(content)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_new_file_is_whole_and_alone(tmp_path):
    write(tmp_path / "deep" / "er" / "rows.csv")
    assert (tmp_path / "deep" / "er" / "rows.csv").read_bytes() == b"new"
    assert names(tmp_path / "deep" / "er") == ["rows.csv"]


def test_it_has_no_name_before_it_is_whole(tmp_path):
    with written(tmp_path / "rows.csv", force=False) as file:
        file.write(b"half")
        assert not (tmp_path / "rows.csv").exists()


def test_what_fails_leaves_nothing_and_the_old_file_as_it_was(tmp_path):
    (tmp_path / "rows.csv").write_bytes(b"old")
    with pytest.raises(TypeError):
        write(tmp_path / "rows.csv", "no bytes", force=True)
    assert (tmp_path / "rows.csv").read_bytes() == b"old"
    assert names(tmp_path) == ["rows.csv"]


def test_a_file_that_is_there_stays_unless_forced(tmp_path):
    (tmp_path / "rows.csv").write_bytes(b"old")
    with pytest.raises(UserError, match=r"rows\.csv: is there already; nothing was written") as error:
        write(tmp_path / "rows.csv")
    assert error.value.hint == "--force replaces it"
    assert (tmp_path / "rows.csv").read_bytes() == b"old"
    write(tmp_path / "rows.csv", force=True)
    assert (tmp_path / "rows.csv").read_bytes() == b"new"


def test_a_name_that_somebody_takes_meanwhile_is_theirs(tmp_path):
    context = written(tmp_path / "rows.csv", force=False)
    context.__enter__().write(b"new")
    (tmp_path / "rows.csv").write_bytes(b"theirs")
    with pytest.raises(UserError, match="somebody else has written it meanwhile"):
        context.__exit__(None, None, None)
    assert (tmp_path / "rows.csv").read_bytes() == b"theirs"
    assert names(tmp_path) == ["rows.csv"]


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(UserError, match="is a folder; wanted a file"):
        check_target(tmp_path, force=True)


def test_a_link_leads_to_the_file_that_is_replaced(tmp_path):
    (tmp_path / "real.csv").write_bytes(b"old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    write(tmp_path / "link.csv", force=True)
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_bytes() == b"new"


def test_what_is_no_regular_file_is_written_to_and_stays(tmp_path):
    write(Path(os.devnull))
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write(pipe)
    reader.join()
    assert read == [b"new"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_disk_that_refuses_is_exit_6(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"rows\.csv: cannot be written: "):
        write(tmp_path / "file" / "rows.csv")


def test_a_reader_that_left_is_no_fault_of_the_disk(tmp_path):
    with pytest.raises(BrokenPipeError), written(tmp_path / "rows.csv", force=False):
        raise BrokenPipeError
