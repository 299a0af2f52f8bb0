"""Errors of the vault. No message holds personal data or key material."""

from schemas.errors import SealpostError


class VaultError(SealpostError):
    """Something in the vault failed; the kind says what. Look at the vault database and the master key first."""


class MasterKeyInvalid(VaultError):
    """The master key is missing, malformed, readable by others, or another installation's; correct the file or variable
    (SEALPOST_MASTER_KEY_FILE, SEALPOST_MASTER_KEY) and start again."""


class KeyRefused(VaultError):
    """A wrapped key does not open or does not match its check value: wrong master key, or rows were exchanged by hand.
    Compare the master key with the installation's; restore the row from a backup of the same installation."""


class UnknownTenant(VaultError):
    """The tenant has no keys in the vault: register it, or end the use of its id."""


class ConnectionTaken(VaultError):
    """This name is in use: a connection belongs to one tenant and channel, an account to one connection. Choose another name, or
    look at what is connected."""


class UnknownConnection(VaultError):
    """No connection has this name; `sealpost connections list` shows those there are."""


class RotationRefused(VaultError):
    """The secret cannot be replaced now. End the rotation under way first (`sealpost connections rotate-secret NAME --finish`),
    or give a secret that is new."""


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
    """This process and its vault's installation differ in what all processes must agree on. Another cluster or partition
    count: point it at its own vault. A setting: give every process the same; to change it for all, stop all roles and run
    `sealpost times --set`."""
