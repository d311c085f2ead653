"""Files that are never half-written: atomic writes, checksummed archives, fail points."""

from .archive import archive_checksum, read_archive, write_archive
from .atomic import folder_for, make_folder, write_bytes, write_text
from .fail_points import FAIL_POINTS, fail_point
from .state import flatten_state, unflatten_state

__all__ = [
    "FAIL_POINTS",
    "archive_checksum",
    "fail_point",
    "flatten_state",
    "folder_for",
    "make_folder",
    "read_archive",
    "unflatten_state",
    "write_archive",
    "write_bytes",
    "write_text",
]
