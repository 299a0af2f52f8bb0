"""Gathers what is known of one message and has it explained: read models, the vault's claims, what the person said."""

from functools import partial

from projections.api import models
from projections.api.answers import Answers, Gone, SettingsSource
from projections.api.explaining import Act, Facts, Part, Sentence, Tried, chain, parts_of, verdict
from projections.api.reading import Reader, Row, arriving
from projections.tables import ECHO, STATUS_TIMES
from schemas.clock import DAY, MS_PER_S, at_ms, now_ms, to_text, today
from schemas.events import statuses
from schemas.http import Refusal
from schemas.ids import is_id, message_day
from schemas.reasons import WaitReason
from schemas.settings import TenantSettings
from vault.attempts import AttemptRecord
from vault.vault import Vault

_SAID_YES = {"ConsentGiven": True, "ConsentWithdrawn": False}


class Explanations:
    """Answers of `GET /v1/messages/{message}/explanation`."""

    def __init__(self, vault: Vault, reader: Reader, settings: SettingsSource, answers: Answers) -> None:
        self._vault, self._reader, self._settings, self._answers = vault, reader, settings, answers

    def of(self, tenant: str, message: str) -> models.ExplanationAnswer:
        """Refusal `not_found` for what is no message of this tenant; of an erased person nothing but that is told."""
        row = self._row(tenant, message)
        attempts = self._vault.attempts(tenant, message) if is_id(message) else []
        subject = row["subject"] if row is not None else (attempts[0].subject if attempts else None)
        if subject is None:
            raise Refusal("not_found")
        standing = self._answers.standing(tenant, subject)
        if isinstance(standing, Gone):
            words = f"The person is {standing.state}; nothing else is told."
            return models.ExplanationAnswer(message_id=message, verdict=words, steps=[])
        if row is None:
            words = "The gate was asked for it; what became of it is not in the read model yet. Ask again."
            return models.ExplanationAnswer(message_id=message, subject=subject, verdict=words, steps=[])
        if row["direction"] != "out" or row["kind"] == ECHO:
            return _not_ours(message, row)
        facts = self._facts(tenant, row, attempts)
        answer = models.ExplanationAnswer(
            message_id=message,
            subject=subject,
            direction="out",
            status=facts.status,
            reason=facts.reason,
            verdict=verdict(facts),
            steps=[_step(one) for one in chain(facts)],
        )
        parts = parts_of(facts)
        return answer.model_copy(update={"parts": [_part(one) for one in parts]}) if parts else answer

    def _row(self, tenant: str, message: str) -> Row | None:
        if not is_id(message):
            return None
        look = partial(self._reader.message, tenant, message)
        return arriving(look) if _is_fresh(message) else look()

    def _facts(self, tenant: str, row: Row, attempts: list[AttemptRecord]) -> Facts:
        subject, status = row["subject"], statuses.of_rank(row["status_rank"]) or "requested"
        # A later part may wait long after the first one, which speaks for the message, was taken.
        waits = status == "requested" or bool(attempts and attempts[-1].part and _is_open(attempts[-1]))
        return Facts(
            channel=row["channel"] or "",
            purpose=row["purpose"] or "",
            kind=row["kind"] or "",
            account=row["account"],
            status=status,
            reason=row["reason"],
            code=row["code"],
            requested_at_ms=at_ms(row["asked_at"] or row["place_at"]),
            now_ms=now_ms(),
            times={
                name: at_ms(row[column]) for name, column in STATUS_TIMES.items() if row[column] is not None
            },
            tried=[
                Tried(
                    one.attempt,
                    one.at_ms,
                    one.refusal,
                    one.outcome,
                    one.outcome_at_ms,
                    one.part,
                    one.reason,
                    one.code,
                )
                for one in attempts
            ],
            acts=self._acts(tenant, subject, row),
            last_inbound_at_ms=self._vault.last_inbound_ms(tenant, subject, row["account"] or ""),
            waits_for=self._waits_for(tenant, attempts, row) if waits else None,
        )

    def _acts(self, tenant: str, subject: str, row: Row) -> list[Act]:
        """What the person said about the purpose on the channel, newest first."""
        acts = [
            Act(_SAID_YES[one["type"]], at_ms(one["acted_at"]), one["data"].get("method"))
            for one in self._reader.consents(tenant, subject)
            if one["type"] in _SAID_YES
            and one["acted_at"] is not None
            and (one["purpose"], one["channel"]) == (row["purpose"], row["channel"])
        ]
        return sorted(acts, key=lambda act: act.at_ms, reverse=True)

    def _waits_for(self, tenant: str, attempts: list[AttemptRecord], row: Row) -> WaitReason | None:
        newest = attempts[-1] if attempts else None
        if newest is not None and _is_open(newest):
            calling_ms = self._vault.times.takeover_s * MS_PER_S
            return "busy" if newest.outcome is None and now_ms() - newest.at_ms < calling_ms else "echo"
        settings = self._settings.tenant(tenant) or TenantSettings(tenant)
        needs_consent = settings.needs_consent(row["purpose"] or "")
        return "vault_behind" if self._vault.is_behind(needs_consent=needs_consent) else None


def _is_fresh(message: str) -> bool:
    """Asked for today or yesterday, by its id: others cannot be on their way to the read model."""
    try:
        return message_day(message) >= today() - DAY
    except ValueError:
        return False


def _not_ours(message: str, row: Row) -> models.ExplanationAnswer:
    """What did not go through the gate: the person wrote it, or the business past Sealpost; of one that is not known yet,
    that she reacted to it."""
    at = to_text(at_ms(row["asked_at"] or row["place_at"]))
    is_incoming = row["direction"] == "in"
    words = f"The person wrote it over {row['channel']}."
    if row["direction"] is None:
        words = f"The person reacted to it over {row['channel']}; who wrote it is not known yet."
    elif not is_incoming:
        words = f"Somebody of the business wrote it over {row['channel']}, past Sealpost."
    return models.ExplanationAnswer(
        message_id=message,
        subject=row["subject"],
        direction=row["direction"],
        status="received" if is_incoming else statuses.of_rank(row["status_rank"]),
        verdict=words,
        steps=[models.Step(at=at, words=words)],
    )


def _is_open(newest: AttemptRecord) -> bool:
    """The provider may be being called, or nobody knows what became of the call."""
    return newest.refusal is None and newest.outcome in (None, "unknown")


def _part(one: Part) -> models.PartFate:
    tried = [
        models.Attempt(
            attempt=each.attempt,
            at=to_text(each.at_ms),
            refusal=each.refusal,
            outcome=each.outcome,
            outcome_at=None if each.outcome_at_ms is None else to_text(each.outcome_at_ms),
        )
        for each in one.tried
    ]
    return models.PartFate(
        part=one.part, status=one.status, reason=one.reason, code=one.code, verdict=one.words, attempts=tried
    )


def _step(one: Sentence) -> models.Step:
    return models.Step(at=to_text(one.at_ms), words=one.words)
