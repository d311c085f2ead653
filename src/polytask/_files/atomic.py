"""Writes that happen completely or not at all."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from polytask.errors import FileProblem

from .fail_points import fail_point

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
if sys.platform == "win32":
    _NEW_FILE |= os.O_BINARY


def write_bytes(path: Path, data: bytes | bytearray) -> None:
    """Replaces the file `path` by `data`: after a kill at any moment it is the old or the new one.

    The bytes go to a hidden file in the same folder, are flushed to the disk and renamed over
    `path`; then the folder is flushed. A failed write removes the hidden file and leaves an
    earlier `path` untouched. The hidden name is fixed, so that one left by a kill is used again
    instead of piling up.

    Args:
        path: The file; its folder must exist.
        data: The complete content.

    Raises:
        FileProblem: If the place is not writable, the disk is full, or another process writes the
            same file at the same moment.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_bytes(Path(folder) / "a", b"new")
        ...     (Path(folder) / "a").read_bytes()
        b'new'
    """
    if path.is_dir():
        raise FileProblem(f"`{path}` is a folder. Name a file to write.")
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        written = _write_part(part, data)
        if part.stat().st_ino != written:
            raise OSError(errno.EBUSY, "another process writes it at the same time")
        fail_point("atomic.before-rename")
        part.replace(path)
        fail_point("atomic.after-rename")
        _flush_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of `text` in UTF-8, line ends as given."""
    write_bytes(path, text.encode("utf-8"))


def make_folder(path: Path) -> Path:
    """Makes the folder `path` with its parents unless it exists; checks that it is writable.

    Raises:
        FileProblem: If a file has that name, or nothing can be written there.
    """
    if path.exists() and not path.is_dir():
        raise FileProblem(f"`{path}` is a file, not a folder. Choose another folder.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        # The one reliable question whether a folder is writable is to write: permission bits do
        # not know of read-only mounts or of root.
        probe = path / f".{os.getpid()}.probe"
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT, 0o600))
        probe.unlink()
    except OSError as error:
        raise unwritable(path, error) from error
    return path


@contextlib.contextmanager
def folder_for(path: Path | None) -> Iterator[None]:
    """`make_folder`; a new folder in which nothing stands when an error comes is removed again.

    Args:
        path: The folder; None: nothing is made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     try:
        ...         with folder_for(Path(place) / "run"):
        ...             raise ValueError("refused")
        ...     except ValueError:
        ...         print((Path(place) / "run").exists())
        False
    """
    new = path is not None and not path.exists()
    if path is not None:
        make_folder(path)
    try:
        yield
    except BaseException:
        if new and path is not None:
            with contextlib.suppress(OSError):
                path.rmdir()  # only if it is empty
        raise


def unwritable(path: Path, error: OSError) -> FileProblem:
    """The sentence for a write that failed."""
    reason = (error.strerror or str(error)).lower()
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        advice = "Free some space or choose another place."
    elif error.errno == errno.EBUSY:
        advice = "Give each run a folder of its own."
    else:
        advice = "Choose another place."
    return FileProblem(f"`{path}` cannot be written: {reason}. {advice}")


def _write_part(part: Path, data: bytes | bytearray) -> int:
    """Writes and flushes a new file; returns its inode number."""
    handle = os.open(part, _NEW_FILE, 0o666)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        fail_point("atomic.before-fsync")
        os.fsync(handle)
        return os.fstat(handle).st_ino
    finally:
        os.close(handle)


def _flush_folder(folder: Path) -> None:
    """Makes the rename itself durable, where the system can."""
    if sys.platform == "win32":  # a folder cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
            raise
    finally:
        os.close(handle)
