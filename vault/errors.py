"""Errors of the vault. No message holds personal data or key material."""

from schemas.errors import SealpostError


class VaultError(SealpostError):
    """Something in the vault failed; the kind says what. Look at the vault database and the master key first."""


class MasterKeyInvalid(VaultError):
    """The master key is missing, malformed or readable by others; correct the file or variable named and start again."""


class KeyRefused(VaultError):
    """A wrapped key does not open or does not match its check value: wrong master key, or rows were exchanged by hand.
    Compare the master key with the installation's; restore the row from a backup of the same installation."""


class UnknownTenant(VaultError):
    """The tenant has no keys in the vault: register it, or end the use of its id."""


class ConnectionTaken(VaultError):
    """This name is in use: a connection belongs to one tenant and channel, an account to one connection. Choose another name, or
    look at what is connected."""


class NotActive(VaultError):
    """A key was asked for a subject that does not exist in the tenant; the caller's event names a wrong subject."""


class CorruptFragment(VaultError):
    """A raw fragment does not open with its day key: another key, another context or changed bytes. Dead-letter it."""


class UnreadableLedger(VaultError):
    """A record of consents or deletions tells neither what it is nor whom it concerns; the partition stops. Look at the
    record (`sealpost deadletters list` names its offset in the log line), then `sealpost recover`."""


class SubjectContended(VaultError):
    """A subject kept changing under the statement that looked it up; repeat the step."""


class InstallationMismatch(VaultError):
    """The vault belongs to another Kafka cluster or another partition count; point it at its own, or start a new one."""
