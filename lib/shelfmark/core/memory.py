"""The memory of this machine, and of this process."""

from __future__ import annotations

import re
from pathlib import Path

import torch

_NO_LIMIT = 1 << 60


def device_bytes(device: torch.device) -> int:
    """The memory of a device: of a GPU all of it, of the CPU what this process may use, as the machine or its container
    says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    sizes = [_of_the_machine()]
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = _read(Path(name)).strip()
        if text.isdecimal() and int(text) < _NO_LIMIT:
            sizes.append(int(text))
    return min(size for size in sizes if size) if any(sizes) else _NO_LIMIT


def free_bytes(device: torch.device) -> int:
    """Of a GPU the memory that no other program holds, of the CPU what the system says is available."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _read(Path("/proc/meminfo")), flags=re.MULTILINE)
    return min(device_bytes(device), 1024 * int(found.group(1))) if found else device_bytes(device)


def program_bytes(device: torch.device) -> int:
    """What the program itself takes on a device, before it holds any tensor: on the CPU its code and libraries, on a
    GPU the CUDA context, and with it what other programs have there."""
    if device.type == "cuda":
        torch.zeros(1, device=device)
        free, whole = torch.cuda.mem_get_info(device)
        return whole - free - torch.cuda.memory_reserved(device)
    found = re.search(r"^VmRSS:\s+(\d+) kB", _read(Path("/proc/self/status")), flags=re.MULTILINE)
    return 1024 * int(found.group(1)) if found else 0


def _of_the_machine() -> int:
    found = re.search(r"^MemTotal:\s+(\d+) kB", _read(Path("/proc/meminfo")), flags=re.MULTILINE)
    return 1024 * int(found.group(1)) if found else 0


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
