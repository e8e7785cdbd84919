"""docker-compose.yml: well-formed, and everything that it names exists in the code."""

from __future__ import annotations

import copy
import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from service.commands.main import build_parser
from service.http.app import create_app
from service.relay import SHORTEST_SECRET, Relay
from service.settings import Settings

Services = dict[str, Any]  # by name
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def content() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def services(content: Any) -> Services:
    found: Services = content["services"]
    return found


def complaints(content: Any) -> list[str]:
    """Where a file breaks the specification's schema."""
    schema = json.loads((ROOT / "tests/support/compose_spec/compose-spec.json").read_text())
    Draft202012Validator.check_schema(schema)
    errors = Draft202012Validator(schema).iter_errors(content)
    return [f"{error.json_path}: {error.message}" for error in errors]


def test_the_file_follows_the_specifications_schema(content: Any) -> None:
    assert complaints(content) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("services", "trocar", "helthcheck"), {}),
        (("services", "trocar", "healthcheck", "retries"), ["three"]),
        (("services", "trocar", "cap_drop"), "ALL"),
        (("services", "trocar-gpu", "deploy", "resources", "reservations", "device"), []),
        (("services", "not a name"), {}),
        (("service",), {}),
    ],
)
def test_what_the_specification_does_not_know_is_told(
    content: Any, path: tuple[str, ...], value: Any
) -> None:
    broken = copy.deepcopy(content)
    *parents, last = path
    functools.reduce(lambda place, key: place[key], parents, broken)[last] = value
    assert complaints(broken)


def test_durations_and_restarts_are_ones_that_compose_reads(services: Services) -> None:
    """To the schema they are any string."""
    for service in services.values():
        check = service.get("healthcheck", {})
        durations = [check[key] for key in ("interval", "timeout", "start_period") if check]
        for duration in (*durations, service.get("stop_grace_period", "10s")):
            assert re.fullmatch(r"(\d+(us|ms|s|m|h))+", duration)
        assert service["restart"] == "unless-stopped"


def filled_in(text: str, **environment: str) -> str:
    """As compose does with ${NAME:-where it is not set} and ${NAME:+where it is}."""

    def value(found: re.Match[str]) -> str:
        given = environment.get(found[1], "")
        return given or found[3] if found[2] == "-" else given and found[3]

    return re.sub(r"\$\{(\w+):([-+])([^}]*)\}", value, text)


OURS = pytest.mark.parametrize("name", ["trocar", "trocar-gpu"])


@OURS
def test_paths_exist(services: Services, name: str) -> None:
    build = services[name]["build"]
    dockerfile = ROOT / build["context"] / build["dockerfile"]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile.read_text(), re.MULTILINE)
    sent = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    for path in (part for line in copied for part in line.split()):
        assert (ROOT / path).exists(), f"the image copies {path}"
        assert path.split("/")[0] in sent, f"Docker is not sent {path}"
    declared = re.findall(r"^ARG (\w+)", dockerfile.read_text(), re.MULTILINE)
    assert set(build.get("args", {})) <= set(declared)


@OURS
def test_the_command_is_one_of_ours(services: Services, name: str) -> None:
    service = services[name]
    arguments = build_parser().parse_args([filled_in(part) for part in service["command"]])
    assert arguments.host == "0.0.0.0", "with the host's network, a loopback is nobody's"
    mounted = {volume.removesuffix(":ro").rsplit(":", 1)[1] for volume in service["volumes"]}
    assert str(arguments.media) in mounted
    check = " ".join(service["healthcheck"]["test"])
    assert f":{arguments.port}/healthz" in check
    assert "/healthz" in create_app(Settings()).openapi()["paths"]


@OURS
def test_environment_variables_are_read_by_the_settings(services: Services, name: str) -> None:
    settings = (ROOT / "service/settings.py").read_text()
    for variable in services[name]["environment"]:
        assert f'"{variable}"' in settings, variable


@OURS
def test_one_version_everywhere(services: Services, name: str) -> None:
    project = (ROOT / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.+)"', project, re.MULTILINE)
    assert version is not None
    assert services[name]["image"] == f"{name}:{version[1]}"


@OURS
def test_frames_of_every_session_have_room_in_shared_memory(services: Services, name: str) -> None:
    """Docker gives 64 MiB, and a write past a full /dev/shm ends the service with SIGBUS."""
    given = re.fullmatch(r"(\d+)m", services[name]["shm_size"])
    assert given is not None
    frame = 3840 * 2160 * (3 + 1)  # a picture and its masks
    sessions = build_parser().parse_args(["serve"]).sessions
    assert int(given[1]) * 2**20 >= sessions * frame


def test_what_is_not_asked_for_does_not_start(services: Services) -> None:
    """The services with and without a GPU share a port, so no command starts both unasked."""
    profiles = {name: service.get("profiles", []) for name, service in services.items()}
    optional = {"trocar-gpu": ["gpu"], "rtsp": ["rtsp"], "turn": ["turn"]}
    assert profiles == {"trocar": ["cpu"], **optional}


@OURS
def test_one_variable_records_into_the_only_folder_that_can_be_written(
    services: Services, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path within the image is the mount's; without the variable nothing is recorded."""
    service = services[name]
    mounted = [filled_in(one, TROCAR_RECORD="./kept") for one in service["volumes"]]
    assert "./kept:/record" in mounted
    writable = {one for one in mounted if not one.endswith(":ro")}
    assert writable - {"./kept:/record", "compiled:/home/trocar/compiled"} == set()
    assert service["read_only"] is True
    said = service["environment"]["TROCAR_RECORD"]
    assert filled_in(said, TROCAR_RECORD="./kept") == "/record"
    for value, recorded in (
        (str(tmp_path / "record"), tmp_path / "record"),
        (filled_in(said), None),
    ):
        monkeypatch.setenv("TROCAR_RECORD", value)
        assert Settings.from_environment().record == recorded


def test_volumes_without_a_folder_are_declared(content: Any) -> None:
    for service in content["services"].values():
        for volume in map(filled_in, service.get("volumes", [])):
            source = volume.split(":")[0]
            assert source.startswith(("./", "/")) or source in content["volumes"], volume


def test_only_the_gpu_profile_reserves_a_device(services: Services) -> None:
    reserving = {name for name, service in services.items() if "deploy" in service}
    assert reserving == {"trocar-gpu"}
    deploy = services["trocar-gpu"]["deploy"]
    assert deploy["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    arguments = build_parser().parse_args(services["trocar-gpu"]["command"])
    assert arguments.engine == "cuda_graph", "`auto` runs on the processor"


def test_what_is_compiled_for_a_gpu_is_kept_where_it_may_run(services: Services) -> None:
    """The root is read-only, and nothing on a tmpfs may be executed."""
    service, dockerfile = services["trocar-gpu"], (ROOT / "service/Dockerfile").read_text()
    assert "gcc" in service["build"]["args"]["COMPILER"]
    kept = {volume.split(":")[1] for volume in service["volumes"] if volume.startswith("compiled:")}
    places = re.findall(r"(?:TORCHINDUCTOR|TRITON)_CACHE_DIR=(\S+)", dockerfile)
    assert len(places) == 2
    for place in places:
        assert any(place.startswith(one) for one in kept)
        assert not any(place.startswith(one.split(":")[0]) for one in service["tmpfs"])


def test_the_relay_takes_the_credentials_that_we_give(services: Services) -> None:
    """What RFC 9725 clients are told is what coturn checks: a secret of a certain length."""
    turn, ours = services["turn"], services["trocar"]
    script = turn["command"][0]
    assert f"test $${{#TROCAR_TURN_SECRET}} -ge {SHORTEST_SECRET} &&" in script
    assert "--use-auth-secret" in script
    assert '--static-auth-secret="$$TROCAR_TURN_SECRET"' in script
    assert turn["environment"]["TROCAR_TURN_SECRET"] == ours["environment"]["TROCAR_TURN_SECRET"]
    port = re.search(r"--listening-port=(\d+)", script)
    assert port is not None
    Relay(f"turn:host.example:{port[1]}", "s" * SHORTEST_SECRET)
    assert f"turn:THIS_HOST:{port[1]}" in (ROOT / "docker-compose.yml").read_text()


def test_images_and_installed_versions_are_pinned(services: Services) -> None:
    for service in services.values():
        assert re.search(r":\d+\.\d+", service["image"]), service["image"]
    makefile, dockerfile = (
        (ROOT / "Makefile").read_text(),
        (ROOT / "service/Dockerfile").read_text(),
    )
    assert "==" not in makefile, "versions are said in requirements/"
    assert not re.search(r"install .*==", dockerfile), "versions are said in requirements/"
    for recipe in (makefile.replace("$(PINS)", "requirements/constraints.txt"), dockerfile):
        for source in ("-c requirements/constraints.txt", "-r requirements/constraints.txt"):
            assert source in recipe
        assert "--require-hashes" in recipe


def test_the_image_installs_what_it_needs_before_it_copies_the_code() -> None:
    """So that a change of the code keeps the layer with a gigabyte of packages."""
    dockerfile = (ROOT / "service/Dockerfile").read_text()
    needs, code = dockerfile.index("-r requirements/sam2.txt"), dockerfile.index("COPY models")
    assert dockerfile.index("-r requirements/constraints.txt") < needs < code
    assert not re.search(r"^COPY .*pyproject", dockerfile[:needs], re.MULTILINE)
    assert re.search(r"pip install --no-deps .* \.$", dockerfile[code:], re.MULTILINE)
