"""What is not installed: a package that a command needs, or the package that brings the command."""

from __future__ import annotations

import sys

import pytest

from service.commands import packages
from service.commands.main import main
from tests.support.segmenting import refused

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("package", ["playwright", "uvicorn"])
def test_a_missing_package_is_one_line(
    package: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [one for one in sys.modules if one.startswith(("benchmarks.", f"{package}."))]:
        monkeypatch.delitem(sys.modules, name)  # other tests may have loaded it
    monkeypatch.setitem(sys.modules, package, None)
    code = main(["bench", "exactness", "--json", "/dev/null"])
    refused(capsys, code, f"expected the package {package}, which is not installed")


@pytest.mark.parametrize(
    ("package", "remedy"),
    [("playwright", ": pip install 'trocar[browser]'"), ("numpy", ""), ("never_heard_of", "")],
)
def test_the_extra_that_brings_a_package_is_named(package: str, remedy: str) -> None:
    error = ModuleNotFoundError(f"No module named '{package}.part'", name=f"{package}.part")
    expected = f"expected the package {package}, which is not installed{remedy}"
    assert packages.missing_package(error) == expected


def test_a_module_of_ours_that_is_missing_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "service.http.server", None)
    with pytest.raises(ModuleNotFoundError):
        main(["serve"])


def test_a_command_whose_package_is_not_installed_is_one_line(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "GROUP", "trocar.none")
    refused(capsys, main(["bench", "--help"]), "expected a package with the command bench")
