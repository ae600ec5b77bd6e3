"""Small tables in HTML, which notebooks show for scenes, cards and results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_CELL = "text-align:left;padding:2px 12px 2px 0"


def table(title: str, rows: Iterable[Sequence[object]], *, head: Sequence[object] = ()) -> str:
    """A title and a table below it, all text escaped.

    Args:
        head: names of the columns; without them each row's first cell is its name.
    """
    top = f"<thead>{_row(head, 'th')}</thead>" if head else ""
    body = "".join(_row(row, "td") for row in rows)
    return f"<div><b>{escape(title)}</b><table>{top}<tbody>{body}</tbody></table></div>"


def _row(cells: Sequence[object], tag: str) -> str:
    made = (f'<{tag} style="{_CELL}">{escape(str(cell))}</{tag}>' for cell in cells)
    return f"<tr>{''.join(made)}</tr>"
