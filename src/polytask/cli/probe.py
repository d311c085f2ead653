"""What `doctor` asks of a machine: one method per fact, so that tests can hand in a broken one."""

import os
import sys
from importlib import metadata
from pathlib import Path
from typing import final

_LINUX: bool = sys.platform == "linux"  # a variable, so that mypy reads both branches


@final
class Probe:
    """The machine that this process runs on."""

    def python(self) -> tuple[int, int, int]:
        """Version of Python."""
        return sys.version_info[:3]

    def version(self, package: str) -> str | None:
        """Installed version of a distribution, None if there is none."""
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return None

    def requirements(self) -> list[str]:
        """What polytask's own metadata requires, without the extras."""
        return [line for line in metadata.requires("polytask") or [] if "extra ==" not in line]

    def import_error(self, module: str) -> str | None:
        """Why a package cannot be imported, None if it can."""
        import importlib

        try:
            importlib.import_module(module)
        except (ImportError, OSError, RuntimeError, AttributeError, ValueError) as error:
            return f"{type(error).__name__}: {error}".splitlines()[0]
        return None

    def cuda_available(self) -> bool:
        """Whether torch can use CUDA."""
        import torch

        return torch.cuda.is_available()

    def cuda_build(self) -> str | None:
        """CUDA version that torch was built for, None for a CPU build."""
        import torch

        return torch.version.cuda

    def cuda_name(self) -> str:
        """Name of the first CUDA device."""
        import torch

        return torch.cuda.get_device_name(0)

    def has_nvidia_driver(self) -> bool:
        """Whether an NVIDIA driver or its tool is present."""
        import shutil

        return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia").exists()

    def cores(self) -> int:
        """CPU cores that this process may use."""
        return len(os.sched_getaffinity(0)) if _LINUX else os.cpu_count() or 1

    def variable(self, name: str) -> str | None:
        """An environment variable."""
        return os.environ.get(name)

    def temporary_folder(self) -> Path:
        """Where temporary files go."""
        import tempfile

        return Path(tempfile.gettempdir())

    def working_folder(self) -> Path:
        """Where runs are written by default."""
        return Path.cwd()

    def write_error(self, folder: Path) -> str | None:
        """Why a file cannot be written in a folder, None if it can."""
        path = folder / f".polytask-doctor-{os.getpid()}"
        try:
            with path.open("wb") as file:
                file.write(b"x")
                file.flush()
                os.fsync(file.fileno())
            path.unlink()
        except OSError as error:
            return (error.strerror or str(error)).lower()
        return None

    def free_bytes(self, folder: Path) -> int:
        """Free space for this user."""
        import shutil

        return shutil.disk_usage(folder).free

    def encodings(self) -> tuple[str, str]:
        """Encoding of standard output and of file names."""
        return sys.stdout.encoding or "", sys.getfilesystemencoding()

    def bundle_error(self) -> str | None:
        """Why a small safetensors archive cannot be written and read back, None if it can."""
        import tempfile

        import torch

        from polytask._files import read_archive, write_archive
        from polytask.errors import PolytaskError

        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "doctor.safetensors"
                write_archive(path, {"x": torch.arange(3)}, {}, kind="doctor", schema_version=1)
                tensors, _ = read_archive(path, kind="doctor", schema_version=1)
        except (PolytaskError, OSError) as error:
            return str(error)
        return None if tensors["x"].tolist() == [0, 1, 2] else "other numbers came back"
