"""Errors of the Send API on Instagram: the table with its sources is shared and stands in `workers/meta_messaging/errors.py`."""

from workers.channel import Classified, ProviderResponse
from workers.meta_messaging import errors


def classify(response: ProviderResponse) -> Classified:
    """Class of an answer that is no success."""
    return errors.classify(response)
