"""Which sources may be opened by whoever reaches us over HTTP.

The URL of a source makes this machine open files and connect to places. The person at the command
line may do so anyway; a request from the network may do it only as far as that person allowed.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlunsplit

from streaming.errors import SourceError
from streaming.sources import split_url

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

RTSP_PORTS = {"rtsp": 554, "rtsps": 322}
DEVICE = re.compile(r"/dev/(video\d+|v4l/by-(id|path)/[\w.:+-]+)")
NAT64 = ipaddress.ip_network("64:ff9b::/96")


class SourceRefusedError(SourceError):
    """A source that may not be opened from the network."""


@dataclass(frozen=True)
class SourcePolicy:
    """What the person at the command line allowed.

    media: folder whose files may be opened; local: streams of this machine, of its link and of
    groups; devices: capture devices
    """

    media: Path | None = None
    local: bool = False
    devices: bool = False

    def admit(self, source: str) -> str:
        """The source as it may be opened: a file by its real path, a host by its address.

        Asked again whenever a source is opened again: links and names change. Blocks while a name
        is resolved. Raises SourceRefusedError; SourceError for what cannot be a source at all.
        """
        _require_printable(source)
        parts = split_url(source)
        if parts.scheme in RTSP_PORTS:
            return self._stream(parts, parts.port or RTSP_PORTS[parts.scheme])
        if parts.scheme == "v4l2":
            return self._device(source, parts.path)
        if parts.scheme == "file":
            return self._recording(unquote(parts.path))
        if "://" in source:
            return source  # refused, as everywhere, by whoever opens sources
        return self._recording(source)

    def _recording(self, name: str) -> str:
        if self.media is None:
            raise SourceRefusedError("recordings may be opened only where --media names a folder")
        _require_printable(name)
        root = self.media.resolve()
        try:
            path = (root / name).resolve()  # links are followed, so that none leads out
            found = path.is_file()
        except (OSError, RuntimeError) as error:  # too long a name, links in a circle
            raise SourceError("expected a recording, this cannot be the name of one") from error
        if not path.is_relative_to(root):
            raise SourceRefusedError("expected a recording inside the folder that --media names")
        if not found:
            raise SourceError("expected a recording, found no such file in the media folder")
        return str(path)

    def _device(self, source: str, path: str) -> str:
        if not self.devices:
            raise SourceRefusedError("capture devices may be opened only with --allow-devices")
        if not DEVICE.fullmatch(path):
            raise SourceRefusedError("expected a capture device such as v4l2:///dev/video0")
        return source

    def _stream(self, parts: SplitResult, port: int) -> str:
        """By address, so that the host looked at here is the host connected to."""
        addresses = _addresses(parts.hostname or "", port)
        if not self.local and any(_is_near(address) for address in addresses):
            raise SourceRefusedError(
                "streams from loopback, link-local and multicast addresses may be opened only with "
                "--allow-local-sources"
            )
        shown = f"[{addresses[0]}]" if addresses[0].version == 6 else str(addresses[0])
        user, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}{at}{shown}:{port}"))


def _require_printable(text: str) -> None:
    if not text.isprintable():
        raise SourceError("expected a source of printable characters")


def _addresses(host: str, port: int) -> list[Address]:
    """At least one. Raises SourceError, without a quote: what looks like a host may be a secret."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM) if host else []
    except (OSError, UnicodeError):
        found = []
    if not found:
        raise SourceError("expected a stream from a host that can be found, this one cannot")
    return [ipaddress.ip_address(entry[4][0]) for entry in found]


def _is_near(address: Address) -> bool:
    """This machine, its link, a group, or nobody; an IPv4 address inside an IPv6 one counts."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _is_near(inner)
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
    )
