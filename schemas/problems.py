"""Problem types of the HTTP API (RFC 9457). `type` is `urn:sealpost:problem:<code>`; a detail names a field, never its value."""

from dataclasses import dataclass

PROBLEM_PREFIX = "urn:sealpost:problem:"
MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of refusal: stable code, HTTP status, title."""

    code: str
    status: int
    title: str


_ALL = (
    Problem("unauthorized", 401, "No valid bearer token"),
    Problem("forbidden", 403, "The token's role may not do this"),
    Problem("not_found", 404, "There is nothing here"),
    Problem("no_dpa", 409, "The tenant has no data-processing agreement on record"),
    Problem("idempotency_conflict", 409, "The idempotency key was used with another body"),
    Problem("conflict", 409, "This contradicts what is already recorded"),
    Problem("too_large", 413, "The body is too large"),
    Problem("unknown_recipient", 422, "Nobody has written from this address"),
    Problem("invalid", 422, "A field is missing or wrong"),
    Problem("clock", 503, "The clock of this server differs from the vault's; the operator must set it"),
    Problem("unavailable", 503, "A part that this needs is away; repeat the request"),
)
PROBLEMS = {problem.code: problem for problem in _ALL}
