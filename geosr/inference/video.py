"""Which windows of a video's frames a net takes."""

from __future__ import annotations

from collections.abc import Sequence

from geosr.errors import UsageError
from geosr.models.card import ModelCard


def of_video(
    cards: Sequence[ModelCard], kind: str, window: int, *, between: bool = False
) -> tuple[str, int]:
    """The kind of scenes that nets get, and the frames of a window; 0 is no video.

    Args:
        kind: of the nets' scenes where no window was asked for.
        window: as asked for; 0 is none.
        between: frames between each two are asked for too.

    Raises:
        UsageError: a net takes no window, another one, or nothing else, or gives no frames between.
    """
    for card in cards:
        if not window and card.video:
            raise UsageError(
                f"'{card.name}' takes {card.frames} frames of a video in their order. Say --window "
                f"{card.frames}, and let SRC be a folder with one raster a frame."
            )
        if between and not card.makes_between:
            raise UsageError(
                f"--between: '{card.name}' gives the frames themselves alone. Leave it out, or "
                "choose mstt-stvsr, or one that lays frames down midway (ibp, ibp-net, mean)."
            )
    if between and not window:
        fit = next((card.frames for card in cards if card.video), 5)
        raise UsageError(f"--between: of how many frames? Say --window {fit} too, for example.")
    if not window or (window == 1 and kind == "image"):
        return kind, 0
    for card in cards:
        _check_window(card, window)
    return "between" if between else "video", window


def _check_window(card: ModelCard, window: int) -> None:
    if window % 2 == 0 and not card.video:
        raise UsageError(f"--window {window}: a frame has as many before it as after it. "
                         "Give an odd number.")  # fmt: skip
    if card.task != "misr":
        raise UsageError(
            f"--window: '{card.name}' takes one image, so a video frame by frame. Leave it "
            "out, or choose a net for several (ibp, ibp-net, msdtgp)."
        )
    if window != card.frames and not card.fewer:
        known = card.video or card.frames % 2 == 1
        next_step = f"Say --window {card.frames}." if known else "Choose another net (ibp)."
        raise UsageError(f"--window {window}: '{card.name}' takes {card.frames} images, no "
                         f"other number. {next_step}")  # fmt: skip
