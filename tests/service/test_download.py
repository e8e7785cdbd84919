"""Downloads over a real socket: cut, changed, refused, with a full disk; whole or not there."""

from __future__ import annotations

import resource
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.commands import download as module
from service.commands.download import download
from service.errors import FetchError
from tests.support.file_server import Served, serving

CONTENT = np.random.default_rng(0).bytes(3_000_000)
OTHER = np.random.default_rng(1).bytes(2_500_000)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES_S", (0.0, 0.0, 0.0))


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(Served(CONTENT)) as one:
        yield one


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "weights.pt.part"


def bring(served: Served, part: Path) -> bytes:
    download(served.url + "weights.pt", part, progress=False)
    return part.read_bytes()


def test_goes_on_after_a_cut_within_one_call_and_fetches_no_byte_twice(
    served: Served, part: Path
) -> None:
    served.cuts = [1_200_000, 700_000]
    assert bring(served, part) == CONTENT
    assert [one.get("Range") for one in served.requests] == [
        None,
        "bytes=1200000-",
        "bytes=1900000-",
    ]
    assert served.requests[1]["If-Range"] == '"one"'
    assert served.sent == len(CONTENT)


def test_goes_on_another_day_where_it_was_given_up(served: Served, part: Path) -> None:
    served.cuts = [1_000_000, 0, 0]
    with pytest.raises(FetchError, match=r"1\.0 MB that came are kept, the same command goes on"):
        bring(served, part)
    assert bring(served, part) == CONTENT
    assert served.sent == len(CONTENT)
    seen = len(served.requests)
    assert bring(served, part) == CONTENT
    assert len(served.requests) == seen, "what is whole is not asked for again"


def test_a_server_without_ranges_sends_everything_anew(served: Served, part: Path) -> None:
    served.ranges, served.cuts = False, [1_200_000]
    assert bring(served, part) == CONTENT
    assert served.sent == len(CONTENT) + 1_200_000


@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize("content", [OTHER, OTHER[:900_000]])
def test_a_file_that_changed_is_never_glued_to_the_old_beginning(
    served: Served, part: Path, conditional: bool, content: bytes
) -> None:
    served.cuts = [1_000_000, 0, 0]
    with pytest.raises(FetchError):
        bring(served, part)
    served.content, served.etag, served.conditional = content, '"two"', conditional
    assert bring(served, part) == content


def test_without_a_validator_nothing_is_gone_on_with(served: Served, part: Path) -> None:
    served.etag, served.cuts = "", [1_000_000]
    assert bring(served, part) == CONTENT
    assert [one.get("Range") for one in served.requests] == [None, None]


def test_a_server_that_stumbles_is_asked_again_and_one_that_refuses_is_not(
    served: Served, part: Path
) -> None:
    served.status = 503
    with pytest.raises(FetchError, match="503"):
        bring(served, part)
    assert len(served.requests) == 3
    served.status = 404
    with pytest.raises(FetchError, match=r"weights\.pt: the server answered 404 Not Found"):
        bring(served, part)
    assert len(served.requests) == 4
    assert list(part.parent.iterdir()) == []


def test_nobody_there_is_said(part: Path) -> None:
    with serving(Served(CONTENT)) as gone:
        pass
    with pytest.raises(FetchError, match=r"no answer .*refused"):
        bring(gone, part)


def test_redirects_are_followed_on_the_same_host_only(served: Served, part: Path) -> None:
    served.location = served.url + "moved/weights.pt"
    assert bring(served, part) == CONTENT
    part.unlink()
    with serving(Served(CONTENT)) as elsewhere:
        served.location = elsewhere.url + "weights.pt"
        with pytest.raises(FetchError, match=r"sends on to http://127.0.0.1:.*not followed"):
            bring(served, part)
        assert elsewhere.requests == []


def test_only_https_beyond_this_machine(part: Path) -> None:
    for url in ("http://example.invalid/weights.pt", "file:///etc/hostname", "ftp://localhost/x"):
        with pytest.raises(FetchError, match="expected an https:// address"):
            download(url, part)


def test_an_answer_without_a_length_is_refused(served: Served, part: Path) -> None:
    served.length = False
    with pytest.raises(FetchError, match="says how long the file is"):
        bring(served, part)


def test_too_little_space_is_said_before_a_byte_comes(
    served: Served, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(1_000_000))
    with pytest.raises(FetchError, match=r"expected 3 MB free in .*, found 1 MB"):
        bring(served, part)
    assert not part.exists()


def test_a_disk_that_fills_up_keeps_what_came(served: Served, part: Path) -> None:
    """A limit on the size of files stands for the end of the disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, before[1]))
    try:
        with pytest.raises(FetchError, match="the disk is full; what came is kept"):
            bring(served, part)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert 0 < part.stat().st_size <= 1_500_000
    assert bring(served, part) == CONTENT


def test_two_fetches_of_one_file_do_not_mix(served: Served, part: Path) -> None:
    with module._alone(part), pytest.raises(FetchError, match="another fetch of it is under way"):
        bring(served, part)
    assert bring(served, part) == CONTENT
