"""Payloads of Instagram of our own making; what they are made of it shares with the other platform of Meta's."""

from functools import partial

from tests.unit.channels import meta_payloads
from tests.unit.channels.meta_payloads import ACCOUNT, PERSON, echo, element, text

__all__ = ["PERSON", "PROFILE", "echo", "element", "text", "webhook"]
PROFILE = ACCOUNT
webhook = partial(meta_payloads.webhook, meta_payloads.INSTAGRAM)
