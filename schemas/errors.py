"""The root of Sealpost's error tree.

SealpostError
├── schemas.envelope.InvalidEvent
├── streams.kafka.*        (ProduceFailed, TopicMismatch, …)
├── streams.step.*         (Fenced, PositionInvalid, …)
├── vault.*                (VaultError and its kinds)
└── workers.*, projections.*, deploy.*

The docstring of a kind is what the operator reads; it ends with the next action. No message ever contains personal data.
"""


class SealpostError(Exception):
    """Something in Sealpost failed; the kind of the error and its message say what and where."""


class ConfigurationError(SealpostError):
    """A setting is missing or contradicts another; correct the setting named in the message and start again."""
