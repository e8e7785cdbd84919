"""A live stream from the network or a capture device, decoded as it arrives.

Nothing is buffered beyond what the decoder needs: whoever reads too slowly loses frames at the
slot, not time. A read that blocks ends by itself after a few seconds, as a loss.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import av

from streaming.deinterlace import Mode
from streaming.errors import SourceError
from streaming.frame import Frame, UInt8Array
from streaming.frame_rate import frame_rate
from streaming.pictures import Pictures, TakenAs
from streaming.pixel_aspect import pixel_aspect, with_square_pixels

OPEN_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 2.0
MOST_BAD = 50  # packets in a row that cannot be decoded; past it the stream is opened again
RTSP = {
    "rtsp_transport": "tcp",
    "fflags": "nobuffer",
    "flags": "low_delay",
    "analyzeduration": "500000",  # microseconds spent on guessing what the stream is
}
OPTIONS = {"rtsp": RTSP, "rtsps": RTSP, "v4l2": {"fflags": "nobuffer"}}


class NetworkStream:
    """Frames of an rtsp://, rtsps:// or v4l2:// source, stamped on arrival.

    Raises SourceError on construction: cannot be reached, or has no video. The address is never
    quoted whole: it may hold a name and a password.
    """

    finite = False

    def __init__(self, url: str, deinterlace: Mode = "auto") -> None:
        parts = urlsplit(url)
        self._place = parts.path if parts.scheme == "v4l2" else (parts.hostname or "")
        self._whole: Pictures[int] = Pictures(deinterlace)
        self._closed = threading.Event()
        self._starting = threading.Lock()
        self._started = False  # from then on the container is the iteration's to close
        self.corrupt = 0  # packets that could not be decoded
        try:
            self._container = av.open(
                parts.path if parts.scheme == "v4l2" else url,
                format="v4l2" if parts.scheme == "v4l2" else None,
                options=OPTIONS[parts.scheme],
                timeout=(OPEN_TIMEOUT_S, READ_TIMEOUT_S),
                metadata_errors="replace",  # a title need not be UTF-8
            )
        except (av.error.FFmpegError, OSError) as error:
            raise SourceError(self._say("expected a stream, cannot open it", error)) from error
        streams = self._container.streams.video
        if not streams or streams[0].codec_context is None:  # or one of an unknown codec
            self._container.close()
            raise SourceError(f"{self._place}: expected a video stream, found none")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "SLICE"  # frame threads would each hold a frame back
        self.fps = frame_rate(self._stream)
        self.size = (self._stream.height, self._stream.width)

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the stream ends or is closed. Raises SourceError when it breaks off."""
        with self._starting:
            if self._closed.is_set():
                return
            self._started = True
        started_ns = time.monotonic_ns()
        try:
            for index, (stored, captured_ns) in enumerate(self._stamped()):
                if self._closed.is_set():
                    return
                image = with_square_pixels(stored, pixel_aspect(self._stream))
                yield Frame(image, index, captured_ns - started_ns, captured_ns)
        except av.error.FFmpegError as error:
            if not self._closed.is_set():
                raise SourceError(self._say("the stream broke off", error)) from error
        finally:
            self._container.close()

    def taken_as(self) -> TakenAs:
        """How the pictures so far were understood."""
        return self._whole.taken_as()

    def _stamped(self) -> Iterator[tuple[UInt8Array, int]]:
        """RGB pictures, each with the moment at which it came, also where it is held back."""
        for picture in self._pictures():
            yield from self._whole.pass_on(picture, time.monotonic_ns())

    def _pictures(self) -> Iterator[av.VideoFrame]:
        """Decoded pictures; a packet that cannot be decoded costs its own only."""
        bad_in_a_row = 0
        for packet in self._container.demux(self._stream):
            try:
                pictures = packet.decode()
            except av.error.InvalidDataError:
                bad_in_a_row += 1
                self.corrupt += 1
                if bad_in_a_row > MOST_BAD:
                    raise
                continue
            bad_in_a_row = 0
            yield from pictures

    def close(self) -> None:
        """End the iteration at its next frame, or when its read times out; may be called twice."""
        with self._starting:
            self._closed.set()
            if not self._started:
                self._container.close()

    def _say(self, what: str, error: Exception) -> str:
        reason = getattr(error, "strerror", None) or type(error).__name__
        return f"{self._place}: {what} ({reason})"
