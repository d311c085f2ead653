"""Telling an exhausted memory from other errors."""

import torch


def out_of_memory(error: BaseException) -> bool:
    """Whether the memory of the device or of the machine was exhausted.

    PyTorch has an error of its own for accelerators only; on the CPU its text must tell.

    Args:
        error: What was raised.

    Example:
        >>> out_of_memory(MemoryError()), out_of_memory(RuntimeError("shapes differ"))
        (True, False)
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)
