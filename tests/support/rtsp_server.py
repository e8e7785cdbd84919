"""A small RTSP server (RFC 2326, RTP interleaved over TCP) around an ffmpeg that makes pictures."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import threading
import time
from pathlib import Path


class RtspServer:
    """Serves one H.264 stream to anyone, until `stop`; may be started again on the same port.

    title: of the stream, sent in Latin-1
    """

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        size: str = "320x240",
        fps: int = 25,
        title: str = "scope",
    ) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self.url = f"rtsp://127.0.0.1:{self.port}/scope"
        self._media = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._media.bind(("127.0.0.1", 0))
        self._media.settimeout(0.2)
        sdp = folder / "stream.sdp"
        sdp.unlink(missing_ok=True)
        rtp = f"rtp://127.0.0.1:{self._media.getsockname()[1]}?pkt_size=1200"
        self._encoder = subprocess.Popen(
            ["ffmpeg", "-loglevel", "error", "-re",
             "-f", "lavfi", "-i", f"testsrc=s={size}:r={fps}",
             "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency",
             "-pix_fmt", "yuv420p", "-g", "10", "-bsf:v", "dump_extra",
             "-f", "rtp", "-sdp_file", str(sdp), rtp]
        )  # fmt: skip
        end = time.monotonic() + 10
        while not sdp.exists() or "m=video" not in sdp.read_text():
            assert time.monotonic() < end, "ffmpeg wrote no session description"
            time.sleep(0.05)
        text = re.sub(r"m=video \d+", "m=video 0", sdp.read_text())
        text = re.sub(r"^s=.*$", f"s={title}", text, flags=re.MULTILINE)
        lines = [line for line in text.splitlines() if not line.startswith("SDP:")]
        self._sdp = "\r\n".join([*lines, "a=control:track0", ""])
        self._stopped = threading.Event()
        self.corrupting = threading.Event()
        self._players: list[socket.socket] = []
        self._sockets: list[socket.socket] = []
        self._threads = [
            threading.Thread(target=self._accept),
            threading.Thread(target=self._relay),
        ]
        for thread in tuple(self._threads):  # the first of them adds more
            thread.start()

    def stop(self) -> None:
        """Kill the stream: connections break, the port closes."""
        self._stopped.set()
        self._encoder.kill()
        self._encoder.wait()
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(5)
        self._media.close()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(connection)
            thread = threading.Thread(target=self._converse, args=(connection,))
            thread.start()
            self._threads.append(thread)

    def _converse(self, connection: socket.socket) -> None:
        buffered = b""
        with contextlib.suppress(OSError):
            while not self._stopped.is_set():
                data = connection.recv(4096)
                if not data:
                    return
                buffered += data
                while b"\r\n\r\n" in buffered:
                    request, _, buffered = buffered.partition(b"\r\n\r\n")
                    self._answer(connection, request.decode("latin-1"))

    def _answer(self, connection: socket.socket, request: str) -> None:
        method = request.split()[0]
        sequence = re.search(r"CSeq: *(\d+)", request, re.IGNORECASE)
        body, extra = "", ""
        if method == "DESCRIBE":
            body, extra = self._sdp, "Content-Type: application/sdp\r\n"
        elif method == "SETUP":
            extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
        elif method == "OPTIONS":
            extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        number = sequence[1] if sequence else "0"
        head = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
        connection.sendall((head + body).encode("latin-1"))
        if method == "PLAY":
            self._players.append(connection)

    def _relay(self) -> None:
        while not self._stopped.is_set():
            try:
                packet = self._media.recv(2000)
            except TimeoutError:
                continue
            except OSError:
                return
            if self.corrupting.is_set():  # the header of RTP and the kind of the NAL unit stay
                packet = packet[:14] + os.urandom(len(packet) - 14)
            channel = b"$\x00" + len(packet).to_bytes(2, "big")
            for player in list(self._players):
                try:
                    player.sendall(channel + packet)
                except OSError:
                    self._players.remove(player)
