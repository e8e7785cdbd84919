"""FFmpeg's own WHIP muxer as a publisher, in a process of its own: a client we did not write.

python -m tests.support.ffmpeg_whip URL FOLDER   publishes numbered pictures until it is ended
"""

from __future__ import annotations

import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from aiortc import RTCCertificate
from cryptography.hazmat.primitives import serialization

from streaming.mark import draw_mark

RATE = 25
SIZE = (240, 320)
OPTIONS = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "g": "25"}


def certificate(folder: Path) -> dict[str, str]:
    """Files of a P-256 certificate: the one FFmpeg makes with GnuTLS has a curve that fails."""
    made, key, cert = RTCCertificate.generateCertificate(), folder / "key.pem", folder / "cert.pem"
    pem = serialization.Encoding.PEM
    key.write_bytes(
        made._key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    cert.write_bytes(made._cert.public_bytes(pem))
    return {"cert_file": str(cert), "key_file": str(key)}


def publish(url: str, folder: Path) -> None:
    """Send numbered pictures at RATE, for a minute at most."""
    container = av.open(url, "w", format="whip", options=certificate(folder))
    stream = container.add_stream("libx264", rate=RATE, options=OPTIONS)
    stream.height, stream.width = SIZE
    stream.pix_fmt, began = "yuv420p", time.monotonic()
    for number in range(60 * RATE):
        image = np.full((*SIZE, 3), 120, np.uint8)
        draw_mark(image, number)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, RATE)
        container.mux(stream.encode(frame))
        time.sleep(max(0.0, began + number / RATE - time.monotonic()))
    container.close()


if __name__ == "__main__":
    publish(sys.argv[1], Path(sys.argv[2]))
