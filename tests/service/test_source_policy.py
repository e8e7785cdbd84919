"""What may be opened over HTTP: the rules alone, then over a real socket."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from models.errors import ProfileError
from service.commands.main import main
from service.errors import UsageError
from service.live.profiles import known_profiles, profile_named
from service.live.source_policy import SourcePolicy, SourceRefusedError
from service.settings import Settings
from streaming.errors import SourceError
from tests.service.test_sessions import app_with
from tests.support.asking import ask
from tests.support.clips import write_clip
from tests.support.live_service import serving
from tests.support.segmenting import refused

NAMES = {
    "camera.example": "192.0.2.7",
    "rebound.example": "127.0.0.1",
    "six.example": "2001:db8::7",
}


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that knows NAMES; numbers are resolved as always."""
    real = socket.getaddrinfo

    def resolve(host: str, *arguments: object, **named: object) -> object:
        return real(NAMES.get(host, host), *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "2130706433", "0.0.0.0", "169.254.169.254", "224.0.0.1",
        "255.255.255.255", "rebound.example", "localhost", "[::1]", "[::]", "[fe80::1]",
        "[ff02::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    ],
)  # fmt: skip
@pytest.mark.usefixtures("names")
def test_addresses_near_this_machine_are_refused_unless_allowed(host: str) -> None:
    for scheme in ("rtsp", "rtsps"):
        url = f"{scheme}://surgeon:secret@{host}:8554/x"
        with pytest.raises(SourceRefusedError, match="--allow-local-sources") as caught:
            SourcePolicy().admit(url)
        assert "secret" not in str(caught.value)
    assert SourcePolicy(local=True).admit(f"rtsp://{host}/x").startswith("rtsp://")


@pytest.mark.parametrize(
    ("url", "opened"),
    [
        ("rtsp://u:p@camera.example/x?y=1", "rtsp://u:p@192.0.2.7:554/x?y=1"),
        ("rtsps://camera.example:9/x", "rtsps://192.0.2.7:9/x"),
        ("rtsp://six.example/x", "rtsp://[2001:db8::7]:554/x"),
        ("rtsp://10.1.2.3/x", "rtsp://10.1.2.3:554/x"),
    ],
)
@pytest.mark.usefixtures("names")
def test_the_address_that_was_checked_is_the_one_that_is_opened(url: str, opened: str) -> None:
    assert SourcePolicy().admit(url) == opened


@pytest.mark.parametrize(
    "url",
    [
        "rtsp:///x",
        "rtsp://user:pa/ss@host/x",
        "rtsp://[::1/x",
        "rtsp://a\n/x",
        "clip\x00.mp4",
        "file:///a%00b",
        "a" * 300,
        "rtsp://[user",
    ],
)
def test_what_is_no_address_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(SourceError) as caught:
        SourcePolicy(Path()).admit(url)
    assert "user" not in str(caught.value)


@pytest.mark.parametrize("url", ["rtsp://[user", "phantom://[user", "rtsp://user:x@host:port/"])
def test_the_command_line_says_so_in_one_line(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, main(["serve", "--source", url]), "expected the address of a source")


def test_links_in_a_circle_are_no_recording(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").symlink_to(tmp_path / "a.mp4")
    with pytest.raises(SourceError, match="cannot be the name"):
        SourcePolicy(tmp_path).admit("a.mp4")


def test_recordings_stay_inside_their_folder(tmp_path: Path) -> None:
    media, outside = tmp_path / "media", tmp_path / "outside.mp4"
    (media / "day").mkdir(parents=True)
    clip = media / "day/clip one.mp4"
    for file in (clip, outside):
        file.write_bytes(b"x")
    (media / "link.mp4").symlink_to(outside)
    policy = SourcePolicy(media)
    for good in ("day/clip one.mp4", str(clip), f"file://{media}/day/clip%20one.mp4"):
        assert policy.admit(good) == str(clip)
    for bad in ("../outside.mp4", str(outside), "link.mp4", "/etc/passwd", "file:///etc/passwd",
                "file:///%2e%2e/outside.mp4", "../media-not/x"):  # fmt: skip
        with pytest.raises(SourceRefusedError, match="inside the folder"):
            policy.admit(bad)
    with pytest.raises(SourceError, match="no such file"):
        policy.admit("none.mp4")
    with pytest.raises(SourceRefusedError, match="--media"):
        SourcePolicy().admit(str(clip))


def test_profiles_stay_inside_their_folder(tmp_path: Path) -> None:
    media = tmp_path / "media"
    (media / "old").mkdir(parents=True)
    for file in (
        media / "own.safetensors",
        media / "old/v1.safetensors",
        tmp_path / "no.safetensors",
    ):
        file.write_bytes(b"x")
    (media / "first.safetensors").symlink_to("old/v1.safetensors")
    (media / "out.safetensors").symlink_to(tmp_path / "no.safetensors")
    (media / "circle.safetensors").symlink_to("circle.safetensors")
    settings = Settings(media=media)
    known = known_profiles(settings)
    assert known["own"] == str(media / "own.safetensors")
    assert known["first"] == str(media / "old/v1.safetensors")
    with pytest.raises(ProfileError, match="expected a profile of"):
        profile_named("out", settings)
    for name in ("own", "instrument"):  # of files elsewhere; what has the name already keeps it
        elsewhere = str(tmp_path / f"{name}.safetensors")
        named = known_profiles(Settings(media=media, profile=elsewhere))
        assert named[name] == known[name]
        assert named[f"{name}.safetensors"] == elsewhere


def test_devices_only_when_allowed() -> None:
    with pytest.raises(SourceRefusedError, match="--allow-devices"):
        SourcePolicy().admit("v4l2:///dev/video0")
    allowed = SourcePolicy(devices=True)
    assert allowed.admit("v4l2:///dev/video0") == "v4l2:///dev/video0"
    for bad in ("v4l2:///etc/passwd", "v4l2:///dev/video0/../../etc/passwd", "v4l2:///dev/mem"):
        with pytest.raises(SourceRefusedError, match="capture device such as"):
            allowed.admit(bad)


@pytest.mark.parametrize(
    ("source", "code", "expected"),
    [
        ("rtsp://surgeon:secret@127.0.0.1:1/x", 403, "--allow-local-sources"),
        ("../outside.mp4", 403, "inside the folder"),
        ("none.mp4", 400, "no such file in the media folder"),
        ("notes.mp4", 400, "notes.mp4: expected a video"),
        ("v4l2:///dev/video0", 403, "--allow-devices"),
        ("http://elsewhere.example/x.mp4", 400, "got a http:// URL"),
    ],
)
async def test_over_http(tmp_path: Path, source: str, code: int, expected: str) -> None:
    (tmp_path / "notes.mp4").write_text("no video at all")
    async with serving(app_with(media=tmp_path)) as server:
        refused = await ask("POST", f"{server.url}/api/sessions", {"source": source})
        assert refused.code == code
        assert expected in refused.sentence
        assert "secret" not in refused.sentence
        assert str(tmp_path) not in refused.sentence
        assert (await server.status())["badge"] in ("DEMO", "STARTING")


async def test_a_recording_of_the_folder_is_shown(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", frames=20, size=(240, 320))
    async with serving(app_with(media=tmp_path)) as server:
        opened = await ask("POST", f"{server.url}/api/sessions", {"source": "clip.mp4"})
        assert opened.code == 201
        assert opened.json["source"] == "clip.mp4"


def test_the_media_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a folder for --media"):
        Settings.from_environment(media=tmp_path / "none")


def test_a_place_that_cannot_hold_recordings_is_refused_before_anything_runs(
    tmp_path: Path,
) -> None:
    (tmp_path / "video.mp4").touch()
    with pytest.raises(UsageError, match=r"expected an output folder, .*video\.mp4 is a file"):
        Settings.from_environment(record=tmp_path / "video.mp4")
    with pytest.raises(UsageError, match=r"cannot write to output folder .*Not a directory"):
        Settings.from_environment(record=tmp_path / "video.mp4/below")
    Settings.from_environment(record=tmp_path / "new/folder")
    assert (tmp_path / "new/folder").is_dir()
