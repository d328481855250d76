"""What of a machine decides the last bits of its sums."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

CPU_INFO = Path("/proc/cpuinfo")  # of Linux
INSTRUCTIONS = ("amx", "avx", "f16c", "fma", "sse", "ssse")  # sums depend on these


def processor() -> dict[str, Any]:
    """Return the processor, and the library that chooses kernels by it."""
    lines = CPU_INFO.read_text().splitlines() if CPU_INFO.exists() else []
    told = {name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    return {
        "machine": platform.machine(),
        "vendor": told.get("vendor_id", platform.processor()),
        "model": told.get("model name", ""),
        "flags": " ".join(f for f in told.get("flags", "").split() if f.startswith(INSTRUCTIONS)),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": version("torch"),
        "num_threads": torch.get_num_threads(),
    }
