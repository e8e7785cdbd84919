"""The wheel, installed where nothing of the checkout is; what it declares, and what we pin."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import cv2
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from service.http.server import NO_OPENVINO
from tests.support.segmenting import check_outputs
from tests.support.tint import iou

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "requirements/constraints.txt"
SAM2 = ROOT / "requirements/sam2.txt"
PACKAGES = ("models", "streaming", "service", "benchmarks")
NOT_PACKED = ("service/Dockerfile", "benchmarks/results/")
LEFT_OUT = {"torchvision", "openvino-telemetry"}  # see constraints.txt
CPU_BUILDS = ("--extra-index-url", "https://download.pytorch.org/whl/cpu", "--retries", "1")
FRAMES, SIZE = 8, (240, 320)


def pinned() -> dict[str, str]:
    """Each package of the three lists, and its version."""
    lines = [
        line.split(" --hash")[0]
        for path in (PINS, SAM2, ROOT / "requirements/dev.txt")
        for line in path.read_text().splitlines()
        if not line.startswith("#")
    ]
    names = [canonicalize_name(line.split("==")[0]) for line in lines]
    assert len(set(names)) == len(names), "a version is said once"
    return {name: line.split("==")[1] for name, line in zip(names, lines, strict=True)}


def declared() -> Iterator[Requirement]:
    """What pyproject.toml asks for, but what is not to be had here and what is ours."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, extras = content["project"], content["project"]["optional-dependencies"]
    asked = [
        *content["build-system"]["requires"],
        *project["dependencies"],
        *itertools.chain(*extras.values()),
    ]
    for one in map(Requirement, asked):
        if one.name not in ("trocar", "tensorrt"):
            yield one


def test_pins_lie_within_the_declared_ranges() -> None:
    found = pinned()
    for one in declared():
        assert found[canonicalize_name(one.name)] in one.specifier, one


def test_nothing_is_missing_but_what_is_left_out_on_purpose() -> None:
    """The lists are installed without their packages' own wishes, so they have to be complete."""
    command = [sys.executable, "-m", "pip", "check"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    wished = re.findall(r"requires ([\w.-]+)", said)
    assert set(wished) <= LEFT_OUT, said


class Installed:
    """A fresh environment with the wheel, used from a folder that is not the checkout."""

    def __init__(self, folder: Path) -> None:
        self.environment, self.folder = folder / "venv", folder / "elsewhere"
        self.folder.mkdir()
        venv.create(self.environment, with_pip=False)

    def pip(self, *arguments: object) -> None:
        """Of the tests' own environment, for this one; fails where pip does."""
        python = self.environment / "bin/python"
        begun = (sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-compile")
        self._run(*begun, *arguments).check_returncode()

    def trocar(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return self._run(self.environment / "bin/trocar", *arguments)

    def serve(self) -> subprocess.Popen[str]:
        command = [str(self.environment / "bin/trocar"), "serve", "--port", "0"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, text=True, cwd=self.folder, env=self._variables, **pipes)

    def _run(self, *command: object) -> subprocess.CompletedProcess[str]:
        words = [str(word) for word in command]
        return subprocess.run(
            words, capture_output=True, text=True, cwd=self.folder, env=self._variables, check=False
        )

    @property
    def _variables(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def built_wheel(folder: Path) -> Path:
    """Of a copy, for a build leaves files in its place and takes what an earlier one has left."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    build = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation")
    subprocess.run([*build, "-w", folder, folder], check=True, capture_output=True)
    (wheel,) = folder.glob("trocar-*.whl")
    return wheel


def installed_wheel(folder: Path) -> Installed:
    """The pinned torch, in the build that is here, and sam2 beside it; then all declared."""
    installed, wheel = Installed(folder), built_wheel(folder)
    installed.pip(f"torch=={version('torch')}", "--no-deps", *CPU_BUILDS)
    installed.pip("setuptools", "-c", PINS)
    installed.pip("--no-deps", "--no-build-isolation", "--require-hashes", "-r", SAM2)
    installed.pip(wheel, "-c", PINS)
    return installed


def test_every_file_of_the_packages_is_in_the_wheel(tmp_path: Path) -> None:
    """Weights, pages, lists and baselines, not code alone."""
    with zipfile.ZipFile(built_wheel(tmp_path)) as wheel:
        packed = set(wheel.namelist())
    ours = (path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file())
    names = {path.relative_to(ROOT).as_posix() for path in ours if "__pycache__" not in path.parts}
    assert {name for name in names - packed if not name.startswith(NOT_PACKED)} == set()


@pytest.mark.timeout(600)
def test_a_fresh_installation_segments_serves_and_says_what_it_lacks(tmp_path: Path) -> None:
    installed = installed_wheel(tmp_path)
    segments(installed)
    for command in ("bench", "paper"):
        assert f"usage: trocar {command}" in installed.trocar(command, "--help").stdout
    lacks(installed, "playwright", "bench", "exactness", "--json", "x.json")
    lacks(installed, "openvino", "segment", "clips/clip_000.mp4", "-o", "x", "--engine", "onnx")
    paper = ("paper", "--dataset", "folder", "--root", "clips", "--setting", "4 shots", "-o", "x")
    lacks(installed, "monai", *paper, "--methods", "unet")
    serves(installed)


def segments(installed: Installed) -> None:
    """A phantom clip: a mask for each frame, and where its instruments are."""
    size = f"{SIZE[1]}x{SIZE[0]}"
    shown = ("--clips", "1", "--frames", FRAMES, "--size", size, "--video")
    assert installed.trocar("phantom", "clips", *shown).returncode == 0
    command = ("segment", "clips/clip_000.mp4", "-o", "out", "--profile", "phantom")
    done = installed.trocar(*command)
    assert done.returncode == 0, done.stderr
    check_outputs(installed.folder / "out", FRAMES, SIZE)
    found, true = (
        cv2.imread(str(installed.folder / mask), cv2.IMREAD_UNCHANGED) > 0
        for mask in ("out/masks/000007.png", "clips/clip_000/masks/000007.png")
    )
    assert iou(found, true) > 0.6


def lacks(installed: Installed, package: str, *command: object) -> None:
    """One line that names the package and how to get it, and exit code 2."""
    done = installed.trocar(*command)
    assert done.returncode == 2
    *_, line = done.stderr.splitlines()
    assert line.startswith("trocar: error: ")
    assert f"package {package}" in line
    assert re.search(r"pip install 'trocar\[\w+\]'", line)
    assert "Traceback" not in done.stderr


def serves(installed: Installed) -> None:
    """The page and its files; and a line on stderr that OpenVINO would halve the time."""
    process = installed.serve()
    assert process.stdout is not None
    try:
        process.stdout.readline()
        address = process.stdout.readline().removeprefix("Open ").strip()
        for path in ("/", "/static/control.js", "/display/main"):
            assert urllib.request.urlopen(address + path, timeout=10).status == 200
    finally:
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert NO_OPENVINO in said
