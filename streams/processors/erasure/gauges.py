"""How many erasures are open, and how many of these are overdue."""

from schemas.metrics import gauge
from streams.processors.erasure.processor import NAME
from streams.step.contract import Cursor

_COUNT = """
select count(*), count(*) filter (where state @? '$.erasures.* ? (@.incomplete == true && !(@.erased == true))')
from streams.state where processor = %s and unfinished
"""


def observe(cursor: Cursor) -> None:
    """Set both gauges from the rows of all partitions."""
    cursor.execute(_COUNT, (NAME,))
    row = cursor.fetchone() or (0, 0)
    gauge("sealpost_erasures_open").set(row[0])
    gauge("sealpost_erasures_incomplete").set(row[1])
