"""Every error that polytask raises on purpose.

One base class, `PolytaskError`; each error is also the built-in that it resembles, so both
``except PolytaskError`` and ``except ValueError`` work. The message is one sentence that names the
column, task, option or file, followed by what to do. The command line prints exactly that sentence
and exits with status 2.
"""


class PolytaskError(Exception):
    """Base class of every error that polytask raises on purpose."""


class InvalidArgument(PolytaskError, ValueError):
    """An argument or an option of the run file has a value that its rule forbids."""


class UnknownName(PolytaskError, ValueError):
    """A name (column, task, method, option) is not among the valid ones."""


class DataError(PolytaskError, ValueError):
    """A table, a column or a label cannot be used as asked."""


class FileProblem(PolytaskError, OSError):
    """A file or folder cannot be read or written."""


class CorruptFile(PolytaskError, ValueError):
    """A checkpoint or bundle is truncated, tampered with, or of an unknown schema version."""


class NotFitted(PolytaskError, ValueError, AttributeError):
    """An object was used before it was fitted."""


class Unsupported(PolytaskError, TypeError):
    """A combination that polytask refuses because it could not honour it."""


class MissingPackage(PolytaskError, ImportError):
    """An optional package is needed; the message holds the command that installs it."""


class TrainingDiverged(PolytaskError, ArithmeticError):
    """A loss became NaN or infinite; the last good model was kept."""


class OutOfMemory(PolytaskError, MemoryError):
    """The device ran out of memory; the last good model was kept."""


class PolytaskWarning(UserWarning):
    """Configuration that is ignored, or a fact that the user should know."""
