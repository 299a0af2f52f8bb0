"""The vault as callers see it."""

from vault.attempts import AttemptsPart
from vault.certificates import CertificatesPart
from vault.claims import ClaimsPart
from vault.connections import ConnectionsPart
from vault.daykeys import DayKeysPart
from vault.entry_tokens import EntryTokensPart
from vault.erasure import ErasurePart
from vault.housekeeping import HousekeepingPart
from vault.installation import InstallationPart
from vault.keys import KeysPart
from vault.moving import MovingPart
from vault.permissions import PermissionsPart
from vault.permits import PermitsPart
from vault.preference_links import PreferenceLinksPart
from vault.reach import ReachPart
from vault.requests import RequestsPart
from vault.resolving import ResolvingPart
from vault.restoring import RestoringPart
from vault.rotation import RotationPart
from vault.subjects import SubjectsPart
from vault.tenants import TenantsPart
from vault.tokens import TokensPart


class Vault(
    SubjectsPart,
    ResolvingPart,
    MovingPart,
    ReachPart,
    KeysPart,
    PermissionsPart,
    PermitsPart,
    ClaimsPart,
    AttemptsPart,
    RequestsPart,
    TenantsPart,
    DayKeysPart,
    ConnectionsPart,
    RotationPart,
    TokensPart,
    EntryTokensPart,
    PreferenceLinksPart,
    CertificatesPart,
    ErasurePart,
    HousekeepingPart,
    InstallationPart,
    RestoringPart,
):
    """All of the vault, one object a process: `Vault(dsn, keyring, times, pool_size=4)`.

    Methods that take a cursor run in the caller's transaction in the vault database; the others take a connection from the
    pool and are committed when they return; do not call those inside `transaction()`, which holds a connection already. All
    block: asyncio callers use a thread. Thread-safe.
    """
