import os
import subprocess
import sys
from pathlib import Path

import pytest

from polytask._files import atomic, fail_points, folder_for, make_folder, write_bytes, write_text
from polytask._files.fail_points import KILLED, parse
from polytask.errors import FileProblem

OLD, NEW = b"old" * 1000, b"new" * 1000
WRITE = "\n".join(
    [
        "import sys; from pathlib import Path; from polytask._files import write_bytes",
        "write_bytes(Path(sys.argv[1]), b'new' * 1000)",
    ]
)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(OLD)
    return path


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_replaces_and_leaves_nothing_else(file):
    write_bytes(file, NEW)
    assert file.read_bytes() == NEW
    assert names(file.parent) == [file.name]


def test_text_is_utf8_with_its_own_line_ends(tmp_path):
    write_text(tmp_path / "a", "é\r\nb\n")
    assert (tmp_path / "a").read_bytes() == "é\r\nb\n".encode()


def test_empty_content(file):
    write_bytes(file, b"")
    assert file.read_bytes() == b""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permission bits")
def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("point", "content"),
    [
        ("atomic.before-fsync", OLD),
        ("atomic.before-rename", OLD),
        ("atomic.after-rename", NEW),
    ],
)
def test_a_kill_leaves_one_complete_file(file, point, content):
    result = subprocess.run(
        [sys.executable, "-c", WRITE, str(file)], env={"POLYTASK_FAIL_POINT": point}, check=False
    )
    assert result.returncode == KILLED
    assert file.read_bytes() == content
    write_bytes(file, NEW)
    assert file.read_bytes() == NEW
    assert names(file.parent) == [file.name], "the hidden file of the kill was used again"


@pytest.mark.parametrize("point", ["atomic.before-fsync", "atomic.before-rename"])
def test_full_disk_at_a_fail_point(file, monkeypatch, point):
    monkeypatch.setattr(fail_points, "_ARMED", parse(f"{point}!error"))
    with pytest.raises(FileProblem) as caught:
        write_bytes(file, NEW)
    assert str(caught.value) == (
        f"`{file}` cannot be written: no space left on device. "
        "Free some space or choose another place."
    )
    assert file.read_bytes() == OLD
    assert names(file.parent) == [file.name]


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_full_disk_by_a_real_limit(file):
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    code += "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n" + WRITE
    result = subprocess.run(
        [sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "polytask.errors.FileProblem" in result.stderr
    assert result.stderr.endswith(
        f"`{file}` cannot be written: file too large. Free some space or choose another place.\n"
    )
    assert file.read_bytes() == OLD
    assert names(file.parent) == [file.name]


def test_short_writes_are_continued(file, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, view: real(handle, view[:7]))
    write_bytes(file, NEW)
    assert file.read_bytes() == NEW


def test_read_only_place(file, monkeypatch):
    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    # Root may write anywhere, so the refusal is simulated.
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(FileProblem, match="cannot be written: permission denied"):
        write_bytes(file, NEW)
    assert file.read_bytes() == OLD
    with pytest.raises(FileProblem, match="cannot be written: permission denied"):
        make_folder(file.parent / "run")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_place_where_even_root_cannot_write():
    with pytest.raises(FileProblem, match="`/proc/polytask` cannot be written"):
        make_folder(Path("/proc/polytask"))


def test_another_writer_at_the_same_time(file, monkeypatch):
    real = atomic._write_part

    def interrupted(part, data):
        number = real(part, data)
        part.rename(part.with_name("moved"))  # keeps the inode number in use
        part.write_bytes(b"half of another wri")
        return number

    monkeypatch.setattr(atomic, "_write_part", interrupted)
    with pytest.raises(FileProblem, match="another process writes it at the same time"):
        write_bytes(file, NEW)
    assert file.read_bytes() == OLD


def test_folder_in_place_of_the_file(tmp_path):
    with pytest.raises(FileProblem, match="is a folder"):
        write_bytes(tmp_path, b"x")


def test_missing_folder(tmp_path):
    with pytest.raises(FileProblem, match="no such file or directory"):
        write_bytes(tmp_path / "a" / "b", b"x")


def test_make_folder(tmp_path):
    assert make_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    make_folder(tmp_path / "a" / "b")
    assert names(tmp_path / "a" / "b") == []


def test_file_in_place_of_the_folder(file):
    with pytest.raises(FileProblem, match=r"is a file, not a folder\. Choose another folder"):
        make_folder(file)
    with pytest.raises(FileProblem, match="cannot be written: not a directory"):
        make_folder(file / "below")
    assert file.read_bytes() == OLD


def broken_off(folder: Path, written: bool) -> None:
    with folder_for(folder):
        if written:
            (folder / "checkpoint").write_bytes(b"")
        raise KeyboardInterrupt


def test_a_folder_is_only_taken_away_if_it_is_new_and_empty(tmp_path):
    (tmp_path / "old").mkdir()
    for name, written in (("old", False), ("new", True), ("gone", False)):
        with pytest.raises(KeyboardInterrupt):
            broken_off(tmp_path / name, written)
        assert (tmp_path / name).exists() == (name != "gone")
