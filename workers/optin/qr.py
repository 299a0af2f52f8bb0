"""QR codes as one SVG path: no image file, no data URL, so that a strict content security policy lets them pass."""

import segno

QUIET_MODULES = 4
"""The margin that ISO/IEC 18004 asks for on every side."""


def qr_path(text: str) -> tuple[str, int]:
    """(path, width in modules with the margin) of the QR code of a text, error correction M: dark modules as runs, one unit a
    module, for `<svg viewBox="0 0 WIDTH WIDTH">`."""
    rows = [list(row) for row in segno.make_qr(text, error="m").matrix]
    runs: list[str] = []
    for y, row in enumerate(rows):
        x = 0
        while x < len(row):
            start = x
            while x < len(row) and row[x]:
                x += 1
            if x > start:
                runs.append(f"M{start + QUIET_MODULES} {y + QUIET_MODULES}h{x - start}v1h-{x - start}z")
            x += 1
    return "".join(runs), len(rows) + 2 * QUIET_MODULES


def qr_svg(text: str) -> str:
    """The QR code of a text as an SVG document, to be printed or put on a page."""
    path, modules = qr_path(text)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {modules} {modules}">'
        f'<path fill="#fff" d="M0 0h{modules}v{modules}H0z"/><path d="{path}"/></svg>'
    )
