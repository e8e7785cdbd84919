"""One file over HTTPS: resumed after a cut, never half there, never from anywhere else.

What has come lies in a `.part` file, and beside it what is known of it: address, validator, size.
A later attempt asks for the rest with `Range` and `If-Range` (RFC 9110, 13.1.5 and 14.2), so a file
that changed on the server in between comes anew and is never glued to the old beginning.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from tqdm import tqdm

from service.errors import FetchError
from service.settings import LOOPBACK

PAUSES_S = (0.0, 0.2, 1.0, 3.0)  # before each attempt; after the last, the command gives up
TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 20
LARGEST_BYTES = 4 << 30


@dataclass(frozen=True)
class Partial:
    """What is known of the file under way. validator: strong ETag or date, or ""; total: bytes"""

    url: str
    validator: str
    total: int


class _CutError(Exception):
    """The connection ended early; going on may help."""


class _StaleError(_CutError):
    """What came before is not the beginning of what is there now; beginning anew may help."""


class _SameHost(HTTPRedirectHandler):
    """Follows within one host and scheme; anywhere else nobody has asked for."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if (new.scheme, new.netloc) != (old.scheme, old.netloc):
            raise FetchError(
                f"expected the file at {old.netloc}, which sends on to {new.scheme}://{new.netloc}:"
                " not followed; fetch it by other means and give it with --from"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, part: Path, *, progress: bool = True) -> None:
    """Bring `part` to the whole content of `url`, going on from what is already in it.

    https only, but for this machine's own addresses. On any error what came stays for next time.
    Raises FetchError: no such file, no answer, no length, too large, disk full, under way already.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise FetchError(f"expected an https:// address, got {url}")
    with _alone(part) as file:
        for pause_s in PAUSES_S:
            time.sleep(pause_s)
            try:
                return _go_on(url, file, part, progress=progress)
            except _StaleError as error:
                cut: _CutError = error
                _known_of(part).unlink(missing_ok=True)
            except _CutError as error:
                cut = error
        raise FetchError(
            f"{parts.netloc}: {cut}; the {file.tell() / 1e6:.1f} MB that came are kept, "
            "the same command goes on from there"
        ) from cut


def forget(part: Path) -> None:
    """Remove what has come so far and what is known of it."""
    part.unlink(missing_ok=True)
    _known_of(part).unlink(missing_ok=True)


def finish(part: Path, target: Path) -> None:
    """The part is whole and good: give it its name, in one step."""
    part.replace(target)
    _known_of(part).unlink(missing_ok=True)


def require_space(folder: Path, needed: int) -> None:
    """Raises FetchError where the disk has less than `needed` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FetchError(
            f"expected {needed / 1e6:.0f} MB free in {folder}, found {free / 1e6:.0f} MB"
        )


@contextmanager
def _alone(part: Path) -> Iterator[IO[bytes]]:
    """The part file, open for appending, held by this process only."""
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FetchError(f"{part}: another fetch of it is under way") from error
        try:
            yield file
        finally:
            if file.seek(0, os.SEEK_END) == 0:
                part.unlink(missing_ok=True)


def _go_on(url: str, file: IO[bytes], part: Path, *, progress: bool) -> None:
    known = _read_known(part, url)
    if known is None:
        file.truncate(0)
    have = file.seek(0, os.SEEK_END)
    if known and have == known.total:
        return
    asked = {"Range": f"bytes={have}-", "If-Range": known.validator} if known and have else {}
    with _open(url, asked) as response:
        found = _described(url, response)
        if not _continues(response, found, known, have):
            file.truncate(0)
            have = 0
        if found.total > LARGEST_BYTES:
            raise FetchError(f"expected at most {LARGEST_BYTES} bytes, got {found.total}: {url}")
        require_space(part.parent, found.total - have)
        _known_of(part).write_text(json.dumps(asdict(found)))
        _receive(response, file, found.total, have, progress=progress)


def _open(url: str, headers: dict[str, str]) -> Any:
    own = urlsplit(url).hostname in LOOPBACK
    proxies = ProxyHandler({}) if own else ProxyHandler()  # no proxy stands before this machine
    opener = build_opener(_SameHost(), proxies)
    try:
        return opener.open(Request(url, headers=headers), timeout=TIMEOUT_S)
    except HTTPError as error:
        error.close()
        said = f"the server answered {error.code} {error.reason}"
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # we have more than is there
            raise _StaleError(said) from error
        if error.code >= 500:
            raise _CutError(said) from error
        raise FetchError(f"{url}: {said}") from error
    except (OSError, HTTPException) as error:
        raise _CutError(f"no answer ({getattr(error, 'reason', error)})") from error


def _described(url: str, response: Any) -> Partial:
    """What the answer's headers say of the whole file. Raises FetchError: not how long it is."""
    headers = response.headers
    etag = headers.get("ETag", "")
    strong = "" if etag.startswith("W/") else etag
    named = "Content-Range" if response.status == HTTPStatus.PARTIAL_CONTENT else "Content-Length"
    length = headers.get(named, "").rpartition("/")[2]
    if not length.isdecimal():
        raise FetchError(f"expected an answer that says how long the file is: {url}")
    return Partial(url, strong or headers.get("Last-Modified", ""), int(length))


def _continues(response: Any, found: Partial, known: Partial | None, have: int) -> bool:
    """Is this the rest of the very file whose beginning is here?"""
    if response.status != HTTPStatus.PARTIAL_CONTENT:
        return False
    starts = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    if not starts or found != known:
        raise _StaleError("the server sent another part than it was asked for")
    return True


def _receive(response: Any, file: IO[bytes], total: int, have: int, *, progress: bool) -> None:
    bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, disable=not progress)
    with bar:
        while have < total:
            try:
                chunk = response.read1(min(CHUNK_BYTES, total - have))
            except (OSError, HTTPException) as error:
                raise _CutError(f"the connection broke ({error})") from error
            if not chunk:
                raise _CutError(f"the connection ended after {have} of {total} bytes")
            _write(file, chunk)
            have += len(chunk)
            bar.update(len(chunk))


def _write(file: IO[bytes], chunk: bytes) -> None:
    try:
        file.write(chunk)
        file.flush()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise FetchError(
            f"{file.name}: the disk is full; what came is kept, the same command goes on"
        ) from error


def _known_of(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_known(part: Path, url: str) -> Partial | None:
    """What an earlier attempt wrote, if one can go on from it: same address, told apart by more."""
    try:
        known = Partial(**json.loads(_known_of(part).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return known if known.url == url and known.validator else None
