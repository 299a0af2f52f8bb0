"""Makes `docs/metrics.md` from the catalogue: `python -m schemas.metrics_document > docs/metrics.md`."""

import sys

from schemas.metrics import CATALOGUE

_HEAD = """# Metrics

Generated from `schemas/metrics.py`; change it there. Every role serves them under `/metrics`. No label ever names a
person, an address, a message or a provider's id.

| name | kind | labels | meaning |
| --- | --- | --- | --- |
"""


def page() -> str:
    """The whole page as Markdown."""
    rows = [f"| `{m.name}` | {m.kind} | {', '.join(m.labels) or '–'} | {m.help} |" for m in CATALOGUE]
    return _HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
