"""What it looks like when memory runs out: PyTorch has no one class for it."""

import torch


def lacks_memory(error: BaseException) -> bool:
    """Return whether an error says that a device or the machine had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
