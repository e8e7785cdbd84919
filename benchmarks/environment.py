"""Where a number was measured: machine, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")  # that a step's time hangs on
_LOAD_BEFORE = os.getloadavg()  # as this is imported: a benchmark's own work is not in it yet


def environment() -> dict[str, Any]:
    """Machine, versions and commit, for every result file."""
    return {
        "processor": _processor(),
        "instructions": [one for one in INSTRUCTIONS if one in _cpu_info("flags").split()],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "system": platform.platform(),
        "torch": torch.__version__,
        "openvino": _version("openvino"),
        "trocar": version("trocar"),
        "load_average": [round(value, 2) for value in _LOAD_BEFORE],
        "commit": _commit(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _cpu_info(key: str) -> str:
    """What the system says of its first processor; nothing where it says nothing."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith(key):
            return line.split(":", 1)[1].strip()
    return ""


def _commit() -> str | None:
    """The checkout's commit, with + where files were changed; None outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    try:
        head = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
            cwd=root, capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip()
