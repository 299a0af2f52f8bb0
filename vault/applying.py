"""Statements of the role `vault`: what an event leaves in the vault's tables."""

import logging
from collections.abc import Iterable, Sequence

from schemas.clock import now_ms
from schemas.envelope import Event, EventData
from schemas.events import subscriptions, tenants
from streams.step.contract import Cursor, Item
from vault.base import as_json
from vault.vault import Vault

LOG = logging.getLogger(__name__)


def hold_subjects(cursor: Cursor, subjects: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Hold (subject, tenant) rows FOR SHARE in key order; their states."""
    wanted = sorted(set(subjects))
    if not wanted:
        return {}
    cursor.execute(
        """select s.subject, s.tenant, s.state from json_to_recordset(%s::json) as a(subject uuid, tenant text)
           join vault.subjects s using (subject, tenant) order by s.subject, s.tenant for share of s""",
        [as_json([{"subject": subject, "tenant": tenant} for subject, tenant in wanted])],
    )
    return {(subject.hex, tenant): state for subject, tenant, state in cursor.fetchall()}


def apply_tenants(vault: Vault, cursor: Cursor, items: Sequence[Item]) -> None:
    """Apply settings events in order, and note how far they were applied."""
    for item in items:
        event: Event = item.value.event
        vault.register_tenant(cursor, event.tenant)
        _apply_tenant(cursor, event, item.value.data, item.value.acted_ms)
    offsets = [item.record.offset for item in items if item.record is not None]
    if offsets:
        cursor.execute(
            """insert into vault.settings_applied (newest) values (%s)
               on conflict (only_row) do update set newest = greatest(settings_applied.newest, excluded.newest)""",
            [max(offsets)],
        )


def _apply_tenant(cursor: Cursor, event: Event, data: EventData, acted_ms: int) -> None:
    match data:
        case tenants.DpaSigned() | tenants.DpaEnded():
            column = b"dpa_signed_ms" if isinstance(data, tenants.DpaSigned) else b"dpa_ended_ms"
            cursor.execute(
                b"update vault.tenants set " + column + b" = greatest(" + column + b", %s) where tenant = %s",
                [acted_ms, event.tenant],
            )
        case tenants.PurposeDefined():
            cursor.execute(
                """insert into vault.purposes (tenant, purpose, legal_basis) values (%s, %s, %s)
                   on conflict (tenant, purpose) do update set legal_basis = excluded.legal_basis""",
                [event.tenant, data.purpose, data.legal_basis],
            )
        case tenants.ChannelApproved():
            cursor.execute(
                """insert into vault.approvals (tenant, account, channel, connection) values (%s, %s, %s, %s)
                   on conflict (tenant, account) do update
                   set channel = excluded.channel, connection = excluded.connection""",
                [event.tenant, data.account, event.channel or "", data.connection],
            )
        case tenants.TemplateStatusChanged():
            cursor.execute(
                """insert into vault.templates (tenant, account, template, language, status) values (%s, %s, %s, %s, %s)
                   on conflict (tenant, template, language, account) do update set status = excluded.status""",
                [event.tenant, data.account, data.template, data.language, data.status],
            )


def note_lost(cursor: Cursor, created: Sequence[Event]) -> None:
    """SubjectCreated of a subject that the vault does not have: it is younger than the backup the vault was restored from.
    Inbound commits the subject before it writes the event, so there is no other way to get here."""
    if not created:
        return
    rows = sorted({(event.subject, event.tenant) for event in created})
    cursor.execute(
        """insert into vault.subjects (subject, tenant, state, created_ms)
           select subject, tenant, 'lost', %s from json_to_recordset(%s::json) as a(subject uuid, tenant text)
           on conflict do nothing""",
        [now_ms(), as_json([{"subject": subject, "tenant": tenant} for subject, tenant in rows])],
    )
    if cursor.rowcount:
        LOG.error("%d subjects are lost: their keys are younger than the restored vault", cursor.rowcount)


def apply_lists(cursor: Cursor, inputs: Iterable[tuple[Event, EventData, int]]) -> None:
    """Memberships: both times only grow, as permissions do."""
    times: dict[tuple[str, str, str, str], list[int | None]] = {}
    for event, data, acted_ms in inputs:
        if isinstance(data, subscriptions.SubscriptionActivated | subscriptions.SubscriptionEnded):
            row = times.setdefault(
                (event.subject, event.tenant, data.list, event.channel or ""), [None, None]
            )
            column = isinstance(data, subscriptions.SubscriptionEnded)
            row[column] = max(row[column] or 0, acted_ms)
    if not times:
        return
    rows = [
        {"subject": s, "tenant": t, "list": name, "channel": channel, "activated": activated, "ended": ended}
        for (s, t, name, channel), (activated, ended) in sorted(times.items())
    ]
    cursor.execute(
        """insert into vault.list_members as m (subject, tenant, list, channel, activated_ms, ended_ms)
           select subject, tenant, list, channel, activated, ended from json_to_recordset(%s::json)
               as a(subject uuid, tenant text, list text, channel text, activated bigint, ended bigint)
           on conflict (subject, tenant, list, channel) do update
           set activated_ms = greatest(m.activated_ms, excluded.activated_ms),
               ended_ms = greatest(m.ended_ms, excluded.ended_ms)""",
        [as_json(rows)],
    )
