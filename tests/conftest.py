"""Shared fixtures: the embedded model, a small phantom data set, a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from models.datasets.phantom_folder import PhantomFolderConfig, write_phantom
from models.method.checkpoint import LoadedWeights, load_embedded


@pytest.fixture(scope="session")
def weights() -> LoadedWeights:
    """The embedded NANO."""
    return load_embedded()


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of one procedure as a folder data set."""
    root = tmp_path_factory.mktemp("phantom")
    config = PhantomFolderConfig(clips=3, frames=8, size=(120, 160), fps=4, seed=3)
    for _ in write_phantom(root, config):
        pass
    return root


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread: the same sums in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium; without one the test skips, in CI it fails."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("TROCAR_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found:
        return found
    reason = "no Chromium: install it, or set TROCAR_CHROMIUM to one"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def captured_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trackers of any engine but torch run on `CapturedSteps`."""
    import models.engines.gpu.cuda_graph as cuda_graph
    import models.tracking.tracker as tracker_module
    from tests.support.captured_steps import CapturedSteps, stand_in

    monkeypatch.setattr(cuda_graph, "_capture", stand_in)
    open_engine = tracker_module.open_engine

    def chosen(choice: Any, *rest: Any, **keys: Any) -> Any:
        if choice.name == "torch":
            return open_engine(choice, *rest, **keys)
        return CapturedSteps(*rest)

    monkeypatch.setattr(tracker_module, "open_engine", chosen)
