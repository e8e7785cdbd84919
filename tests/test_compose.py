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
from service.relay import SHORTEST_SECRET, Relay
from service.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
DURATION = r"^(\d+(us|ms|s|m|h))+$"


class Strict(BaseModel):
    """A key that the specification does not know is an error."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Build(Strict):
    context: str
    dockerfile: str
    args: dict[str, str] = Field(default_factory=dict)


class Healthcheck(Strict):
    test: list[str] = Field(min_length=2)
    interval: str = Field(pattern=DURATION)
    timeout: str = Field(pattern=DURATION)
    retries: int
    start_period: str = Field(pattern=DURATION)


class Device(Strict):
    driver: str
    count: int
    capabilities: list[str] = Field(min_length=1)


class Reservations(Strict):
    devices: list[Device]


class Resources(Strict):
    reservations: Reservations


class Deploy(Strict):
    resources: Resources


class Service(Strict):
    """The part of the compose specification's `service` that we use, with its types."""

    build: Build | None = None
    image: str
    entrypoint: list[str] | None = None
    command: list[str] | None = None
    deploy: Deploy | None = None
    network_mode: str
    environment: dict[str, str] = Field(default_factory=dict)
    volumes: list[str] = Field(default_factory=list)
    healthcheck: Healthcheck | None = None
    profiles: list[str] = Field(default_factory=list)
    read_only: bool = False
    tmpfs: list[str] = Field(default_factory=list)
    cap_drop: list[str] = Field(default_factory=list)
    cap_add: list[str] = Field(default_factory=list)
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


OURS = pytest.mark.parametrize("name", ["trocar", "trocar-gpu"])


@OURS
def test_paths_exist(compose: Compose, name: str) -> None:
    build = compose.services[name].build
    assert build is not None
    dockerfile = ROOT / build.context / build.dockerfile
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile.read_text(), re.MULTILINE)
    for path in " ".join(copied).split():
        assert (ROOT / path).exists(), f"the image copies {path}"
    declared = re.findall(r"^ARG (\w+)", dockerfile.read_text(), re.MULTILINE)
    assert set(build.args) <= set(declared)


@OURS
def test_the_command_is_one_of_ours(compose: Compose, name: str) -> None:
    service = compose.services[name]
    assert service.command is not None
    arguments = build_parser().parse_args([filled_in(part) for part in service.command])
    assert arguments.host == "0.0.0.0", "with the host's network, a loopback is nobody's"
    mounted = {volume.removesuffix(":ro").rsplit(":", 1)[1] for volume in service.volumes}
    assert str(arguments.media) in mounted
    check = service.healthcheck
    assert check is not None
    assert f":{arguments.port}/healthz" in " ".join(check.test)
    assert "/healthz" in create_app(Settings()).openapi()["paths"]


@OURS
def test_environment_variables_are_read_by_the_settings(compose: Compose, name: str) -> None:
    settings = (ROOT / "service/settings.py").read_text()
    for variable in compose.services[name].environment:
        assert f'"{variable}"' in settings, variable


@OURS
def test_one_version_everywhere(compose: Compose, name: str) -> None:
    project = (ROOT / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.+)"', project, re.MULTILINE)
    assert version is not None
    assert compose.services[name].image == f"{name}:{version[1]}"


def test_what_is_not_asked_for_does_not_start(compose: Compose) -> None:
    profiles = {name: service.profiles for name, service in compose.services.items()}
    optional = {"trocar-gpu": ["gpu"], "rtsp": ["rtsp"], "turn": ["turn"]}
    assert profiles == {"trocar": [], **optional}


def test_only_the_gpu_profile_reserves_a_device(compose: Compose) -> None:
    reserving = {name for name, service in compose.services.items() if service.deploy}
    assert reserving == {"trocar-gpu"}
    deploy = compose.services["trocar-gpu"].deploy
    assert deploy is not None
    assert deploy.resources.reservations.devices[0].capabilities == ["gpu"]


def test_the_relay_takes_the_credentials_that_we_give(compose: Compose) -> None:
    """What RFC 9725 clients are told is what coturn checks: a secret of a certain length."""
    turn, ours = compose.services["turn"], compose.services["trocar"]
    assert turn.command is not None
    script = turn.command[0]
    assert f"test $${{#TROCAR_TURN_SECRET}} -ge {SHORTEST_SECRET} &&" in script
    assert "--use-auth-secret" in script
    assert '--static-auth-secret="$$TROCAR_TURN_SECRET"' in script
    assert turn.environment["TROCAR_TURN_SECRET"] == ours.environment["TROCAR_TURN_SECRET"]
    port = re.search(r"--listening-port=(\d+)", script)
    assert port is not None
    Relay(f"turn:host.example:{port[1]}", "s" * SHORTEST_SECRET)
    assert f"turn:THIS_HOST:{port[1]}" in (ROOT / "docker-compose.yml").read_text()


def test_images_and_installed_versions_are_pinned(compose: Compose) -> None:
    for service in compose.services.values():
        assert re.search(r":\d+\.\d+", service.image), service.image
    makefile, dockerfile = (
        (ROOT / "Makefile").read_text(),
        (ROOT / "service/Dockerfile").read_text(),
    )
    for pin in re.findall(r"(?:pip|setuptools|wheel|torch)==[\d.]+", makefile):
        assert pin in dockerfile, f"{pin} is what make install takes"
