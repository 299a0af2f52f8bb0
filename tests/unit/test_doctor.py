"""The doctor: what is missing is said with what mends it, and what is for production with what to set."""

import resource
from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy import doctor
from deploy.settings import Settings

EMBEDDED = Settings(
    kafka="127.0.0.1:9092",
    vault_dsn="postgresql://vault@127.0.0.1/vault",
    streams_dsn="postgresql://streams@127.0.0.1/streams",
    projections_dsn="postgresql://projections@127.0.0.1/projections",
    master_key_file=Path("/data/master.key"),
    embedded=True,
    replication=1,
)
DSN = "postgresql://sealpost@db.example/{}?sslmode=verify-full"
PRODUCTION = Settings(
    kafka="kafka-1.example:9093,kafka-2.example:9093",
    vault_dsn=DSN.format("vault"),
    streams_dsn=DSN.format("streams"),
    projections_dsn=DSN.format("projections"),
    backup_kept_days=30,
)


ENVIRONMENT = {"SEALPOST_MASTER_KEY": "from a key service"}


def wrong(settings: Settings, environment: Mapping[str, str] = ENVIRONMENT) -> list[str]:
    """What is named as wrong."""
    findings = list(doctor.production(settings, environment))
    assert all(finding.mend for finding in findings if finding.state != "ok")
    return [finding.words for finding in findings if finding.state == "wrong"]


def test_an_embedded_instance_is_not_for_production() -> None:
    said = "\n".join(wrong(EMBEDDED))
    for word in (
        "embedded",
        "replication factor 1",
        "without TLS",
        "/data/master.key",
        "backups",
        "loopback",
    ):
        assert word in said, word


def test_settings_for_production_are_well() -> None:
    assert wrong(PRODUCTION) == []
    assert wrong(PRODUCTION, {}) == ["no master key is set"]


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"replication": 2}, "replication"),
        ({"kafka": "kafka-1.example:9093,localhost:9093"}, "loopback"),
        ({"kafka": ""}, "Kafka"),
        ({"vault_dsn": DSN.format("vault").replace("verify-full", "require")}, "database vault without TLS"),
        ({"streams_dsn": ""}, "database streams is not set"),
        ({"streams_dsn": "host=127.0.0.2 dbname=x"}, "database streams on loopback"),
        ({"streams_dsn": "hostaddr=::1 dbname=x"}, "database streams on loopback"),
        ({"vault_dsn": "postgres//u:geheim@h/db"}, "SEALPOST_VAULT_DSN is no DSN"),
        ({"backup_kept_days": None}, "backups"),
    ],
)
def test_each_thing_is_found(changed: dict[str, object], word: str) -> None:
    said = wrong(PRODUCTION.model_copy(update=changed))
    assert any(word in words for words in said)
    assert "geheim" not in str(said)


def test_what_this_machine_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here everything is there but the jars of an empty cache; a package that is not there is named with `make venv`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    findings = {finding.words: finding for finding in doctor.machine(tmp_path)}
    missing = [words for words, finding in findings.items() if finding.state == "missing"]
    assert [words for words in missing if "jars" not in words] == []
    assert len(missing) == 1
    found = doctor._package("no-such-package")
    assert (found.state, found.mend) == ("missing", "make venv")
    assert found.line().startswith("MISSING  package no-such-package\n")


def test_too_little_of_everything(tmp_path: Path) -> None:
    assert doctor._python((3, 10)).state == "missing"
    assert doctor._space(tmp_path, 1024).state == "missing"
    assert doctor._memory(1024).state == "missing"
    assert doctor._files(256).mend == "ulimit -n 4096"
    assert doctor._files(resource.RLIM_INFINITY).state == "ok"
