"""What the composed view shows in headless Chromium: its frames and masks, by their pixels."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Page
from tqdm import tqdm

from benchmarks.live.display_page import display_page, version_of
from benchmarks.live.viewer import ViewerConfig, lose_sent
from benchmarks.quality.signed import CELL as MASK_CELL
from benchmarks.quality.signed import COLUMNS as MASK_COLUMNS
from benchmarks.quality.signed import ROWS as MASK_ROWS
from benchmarks.quality.signed import number_of_cells
from service.live.session import Session
from streaming.mark import CELL, COLUMNS, ROWS, number_of_mark

# Before each repaint: the cells of the mark on one canvas, those of the mask on the other, and of
# which frame the page says the mask is; each state once.
WATCH = """([mark, mask]) => {
  const [picture, masks] = [document.getElementById("picture"), document.getElementById("masks")];
  const copies = [mark, mask].map(({ columns, rows }) => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [columns, rows];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingEnabled = false; // a cell's middle, not its mean
    return context;
  });
  const read = (context, { columns, rows, cell }, from, top, channel, over) => {
    const [x, y] = [from.width / picture.width, from.height / picture.height];
    context.clearRect(0, 0, columns, rows);
    context.drawImage(from, 0, top * y, columns * cell * x, rows * cell * y, 0, 0, columns, rows);
    const { data } = context.getImageData(0, 0, columns, rows);
    const lit = (_, at) => data[at * 4 + channel] > over ? 1 : 0;
    return Array.from({ length: columns * rows }, lit);
  };
  const seen = window.seen = [];
  let last = "";
  const look = () => {
    requestAnimationFrame(look);
    const top = picture.height - mark.rows * mark.cell;
    const state = [
      read(copies[0], mark, picture, top, 1, 127),
      read(copies[1], mask, masks, 0, 3, 40),
      picture.dataset.mask ?? "",
    ];
    const now = JSON.stringify(state);
    if (now !== last) seen.push(state);
    last = now;
  };
  look();
}"""
MARK_CELLS = {"columns": COLUMNS, "rows": ROWS, "cell": CELL}
MASK_CELLS = {"columns": MASK_COLUMNS, "rows": MASK_ROWS, "cell": MASK_CELL}
LOOK_EVERY_S = 0.5


@dataclass
class Shown:
    """States of the screen that had a mask: the frame's number, the mask's, and the one told."""

    states: list[tuple[int | None, int | None, str]] = field(default_factory=list)
    plain: int = 0
    chromium: str = ""

    @property
    def masked_frames(self) -> int:
        """Different frames that were seen with a mask on them."""
        return len({frame for frame, mask, _ in self.states if None not in (frame, mask)})

    def add(self, mark: list[int], mask: list[int], told: str) -> None:
        """A state of the screen, as cells."""
        if any(mask) or told:
            self.states.append((number_of_mark(mark), number_of_cells(mask), told))
        else:
            self.plain += 1


async def look_in_browser(
    session: Session, loss: float, frames: int, limit_s: float, chromium: str
) -> Shown:
    """Until so many frames were shown with masks. Raises TimeoutError, UsageError.

    loss: share of the packets to the browser that get lost, from the connection's making on
    """

    async def answer(sdp: str, view: str) -> str:
        answered = await session.peers.answer(sdp, view)
        if loss:
            lose_sent(session.peers._connections[answered.id], ViewerConfig(loss=loss))
        return answered.sdp

    shown = Shown()
    async with display_page(session, "composed", chromium, answer=answer) as page:
        shown.chromium = version_of(page)
        async with asyncio.timeout(limit_s):
            await _watch(page, shown, frames)
    return shown


async def _watch(page: Page, shown: Shown, frames: int) -> None:
    await page.evaluate(WATCH, [MARK_CELLS, MASK_CELLS])
    with tqdm(total=frames, unit="frame", desc="in Chromium", leave=False) as bar:
        while shown.masked_frames < frames:
            await asyncio.sleep(LOOK_EVERY_S)
            states: list[Any] = await page.evaluate("window.seen.splice(0)")
            for mark, mask, told in states:
                shown.add(mark, mask, told)
            bar.update(min(frames, shown.masked_frames) - bar.n)
