"""docker-compose.yml: well-formed, and everything that it names exists in the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from service.app import create_app
from service.cli import build_parser
from service.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
DURATION = r"^(\d+(us|ms|s|m|h))+$"


class Strict(BaseModel):
    """A key that the specification does not know is an error."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Build(Strict):
    context: str
    dockerfile: str


class Healthcheck(Strict):
    test: list[str] = Field(min_length=2)
    interval: str = Field(pattern=DURATION)
    timeout: str = Field(pattern=DURATION)
    retries: int
    start_period: str = Field(pattern=DURATION)


class Service(Strict):
    """The part of the compose specification's `service` that we use, with its types."""

    build: Build | None = None
    image: str
    command: list[str] | None = None
    network_mode: str
    environment: dict[str, str] = Field(default_factory=dict)
    volumes: list[str] = Field(default_factory=list)
    healthcheck: Healthcheck | None = None
    profiles: list[str] = Field(default_factory=list)
    read_only: bool = False
    tmpfs: list[str] = Field(default_factory=list)
    cap_drop: list[str] = Field(default_factory=list)
    security_opt: list[str] = Field(default_factory=list)
    stop_grace_period: str = Field("10s", pattern=DURATION)
    restart: str = Field("no", pattern=r"^(no|always|on-failure(:\d+)?|unless-stopped)$")


class Compose(Strict):
    services: dict[str, Service]


@pytest.fixture(scope="module")
def compose() -> Compose:
    content: Any = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return Compose.model_validate(content)


def filled_in(text: str) -> str:
    """With every ${NAME:-default} at its default, as compose does without an environment."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_paths_exist(compose: Compose) -> None:
    build = compose.services["trocar"].build
    assert build is not None
    dockerfile = ROOT / build.context / build.dockerfile
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile.read_text(), re.MULTILINE)
    for path in " ".join(copied).split():
        assert (ROOT / path).exists(), f"the image copies {path}"


def test_the_command_is_one_of_ours(compose: Compose) -> None:
    command = compose.services["trocar"].command
    assert command is not None
    arguments = build_parser().parse_args([filled_in(part) for part in command])
    check = compose.services["trocar"].healthcheck
    assert check is not None
    assert f":{arguments.port}/healthz" in " ".join(check.test)
    assert "/healthz" in create_app(Settings()).openapi()["paths"]


def test_environment_variables_are_read_by_the_settings(compose: Compose) -> None:
    settings = (ROOT / "service/settings.py").read_text()
    for name in compose.services["trocar"].environment:
        assert f'"{name}"' in settings, name


def test_one_version_everywhere(compose: Compose) -> None:
    project = (ROOT / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.+)"', project, re.MULTILINE)
    assert version is not None
    assert compose.services["trocar"].image == f"trocar:{version[1]}"


def test_images_and_installed_versions_are_pinned(compose: Compose) -> None:
    for service in compose.services.values():
        assert re.search(r":\d+\.\d+", service.image), service.image
    makefile, dockerfile = (
        (ROOT / "Makefile").read_text(),
        (ROOT / "service/Dockerfile").read_text(),
    )
    for pin in re.findall(r"(?:pip|setuptools|wheel|torch)==[\d.]+", makefile):
        assert pin in dockerfile, f"{pin} is what make install takes"
