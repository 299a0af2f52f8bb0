"""Every event type: its exported JSON Schema, its golden file, and the review of what stands in it in clear."""

import shutil
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from pydantic import BaseModel

from schemas import export
from schemas.envelope import Event, EventData, InvalidEvent, KeyClass, Sealed, SealedBlock
from schemas.events import registry

GOLDEN = Path(__file__).parents[1] / "golden"
GIT = shutil.which("git") or "git"
CORPUS = GOLDEN / "corpus.sha256"
"""`<digest>  <file>`, a line for each golden file there ever was; lines are only appended."""
TYPES = sorted(registry.MODELS)

CLEAR_ENVELOPE = {
    "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "tenant", "channel", "causationid",
    "correlationid", "data",
}  # fmt: skip
CLEAR_FIELDS = {
    # ids, all random or keyed hashes
    "message", "optin", "subscription", "basis", "request", "erasure", "account", "connection", "certificate", "key", "id",
    # what it is about
    "purpose", "about", "list", "template", "text", "notice", "version", "language", "entry_point", "legal_basis",
    # by which way somebody came, and what she was shown
    "entry", "form", "link", "campaign", "purposes", "text_hash", "notice_hash", "hash",
    # what was done, in words of fixed lists
    "kind", "provider_kind", "address_kind", "intent", "method", "reason", "requested_by", "delivery", "on_submitted",
    "classes", "evidence", "store", "receipts", "missing", "alg", "reachable", "status", "field", "event",
    "outcome", "draft", "active",
    # numbers
    "part", "parts", "text_from", "text_to", "attempt", "code", "settings",
    # times
    "acted_at", "provider_time", "requested_at", "expires", "t0", "t1", "t2", "tr", "t3", "purged_at", "day", "day_keys_until",
    # of the business, no person: settings
    "name", "default_language", "signed_at", "ended_at", "url", "body", "accounts", "origins", "handle", "names",
    # sealed or signed by itself
    "sealed", "ct", "public", "signature",
}  # fmt: skip
"""The allow-list (DESIGN §5, docs/privacy/what-remains.md). A field that is added here stays readable for ever: it must name
no person, quote nobody, and hold no address, no provider's id, no provider's words and, outside settings, no URL."""
OF_THE_BUSINESS = {"name", "url", "body", "origins", "handle", "names"}
"""Clear in the tenants' settings alone."""


def golden(name: str) -> bytes:
    """The golden file of a type."""
    return (GOLDEN / f"{name}.json").read_bytes()


def corpus_of(text: str) -> set[str]:
    """The lines of a list of golden files."""
    return {line for line in text.splitlines() if line}


def former_lines(folder: Path, list_name: str) -> set[str]:
    """Every line that the list of golden files has had in a commit that HEAD comes from; none where there is no history."""
    command = [GIT, "log", "-m", "-p", "--no-color", "--no-ext-diff", "--format=", "HEAD", "--", list_name]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    except FileNotFoundError:
        return set()
    return {line[1:] for line in done.stdout.splitlines() if line[:1] in {"-", "+"} and line[1:2].isalnum()}


def check_corpus(folder: Path) -> None:
    """Each golden file is listed with its digest, each listed one is there unchanged, and no line of the list was taken back."""
    files = {f"{sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in folder.glob("*.json")}
    listed = corpus_of((folder / CORPUS.name).read_text())
    assert not listed - files, f"golden files that were removed or changed: {sorted(listed - files)}"
    assert not files - listed, f"append to {CORPUS.name}: {sorted(files - listed)}"
    taken_back = former_lines(folder, CORPUS.name) - listed
    assert not taken_back, f"lines of {CORPUS.name} that an earlier commit had: {sorted(taken_back)}"


def models_in(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A data model and the models inside it, sealed blocks apart."""
    yield model
    for field in model.model_fields.values():
        for part in _parts(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel) and part is not Sealed:
                yield from models_in(part)


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _parts(argument)


def test_exported_schemas_are_up_to_date() -> None:
    """`python -m schemas.export` changes nothing."""
    files = {path.name: path.read_bytes() for path in export.FOLDER.iterdir()}
    assert files == export.documents()


def test_every_type_has_a_golden_file_and_no_file_is_left_over() -> None:
    """A type that was ever written stays readable, so its file and its model stay."""
    assert sorted(path.stem for path in GOLDEN.glob("*.json")) == TYPES


def test_the_golden_corpus_only_grows() -> None:
    """What was ever written must stay readable as it was written."""
    check_corpus(GOLDEN)


@pytest.mark.parametrize("harm", ["removed", "changed", "list cut", "unlisted"])
def test_a_golden_file_cannot_go_or_change(tmp_path: Path, harm: str) -> None:
    """Neither alone nor together with its line in the list, once that is committed."""
    content = '{"type": "sealpost.thing.happened.v1"}'
    (tmp_path / "sealpost.thing.happened.v1.json").write_text(content)
    (tmp_path / CORPUS.name).write_text(
        f"{sha256(content.encode()).hexdigest()}  sealpost.thing.happened.v1.json\n"
    )
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        identity = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
        subprocess.run([GIT, *identity, *arguments], cwd=tmp_path, check=True, timeout=120)
    check_corpus(tmp_path)
    if harm == "unlisted":
        (tmp_path / "sealpost.other.happened.v1.json").write_text("{}")
    elif harm == "changed":
        (tmp_path / "sealpost.thing.happened.v1.json").write_text(content + "\n")
    else:
        (tmp_path / "sealpost.thing.happened.v1.json").unlink()
    if harm == "list cut":
        (tmp_path / CORPUS.name).write_text("")
    with pytest.raises(AssertionError):
        check_corpus(tmp_path)


@pytest.mark.parametrize("name", TYPES)
def test_golden_file(name: str) -> None:
    """It validates against the exported schema, loads, and means what it meant when it was written."""
    raw = golden(name)
    schema = orjson.loads((export.FOLDER / f"{name}.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(orjson.loads(raw))
    event = Event.from_bytes(raw)
    data = registry.read(event)
    assert type(data) is registry.MODELS[name]
    assert orjson.loads(event.to_bytes()) == orjson.loads(raw)
    assert data.model_dump(mode="json", exclude_none=True) == event.data


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("channel", ["whatsapp", None])
@pytest.mark.parametrize("cause", ["c" * 32, None])
def test_both_ways_of_writing_give_the_same_bytes(name: str, channel: str | None, cause: str | None) -> None:
    """`encode` is `build` without the model of the envelope."""
    data = registry.read(Event.from_bytes(golden(name)))
    about: dict[str, Any] = {
        "id": "0" * 32,
        "role": "test",
        "tenant": "t",
        "subject": "s",
        "at_ms": 1_795_000_000_123,
        "channel": channel,
        "cause": cause,
    }
    built = registry.build(data, **about).to_bytes()
    assert registry.encode(data, **about) == built
    if data.sealed is not None:
        blocks: dict[KeyClass, SealedBlock] = {
            kind: block for kind in get_args(KeyClass) if (block := getattr(data.sealed, kind)) is not None
        }
        bare = data.model_copy(update={"sealed": None})
        assert registry.encode(bare, **about, blocks=blocks) == built
    with pytest.raises(ValueError, match="id"):
        registry.encode(data, **{**about, "id": "none"})


@pytest.mark.parametrize("name", TYPES)
def test_schema_and_model_refuse_the_same(name: str) -> None:
    """A field nobody knows and a field that lacks are refused by both."""
    validator = Draft202012Validator(orjson.loads((export.FOLDER / f"{name}.json").read_bytes()))
    good = orjson.loads(golden(name))
    fields = registry.MODELS[name].model_fields
    needed = next((key for key, field in fields.items() if field.is_required()), None)
    broken = [{**good, "data": {**good["data"], "colour": "red-4711"}}, {**good, "colour": "red-4711"}]
    if needed is not None:
        broken.append({**good, "data": {key: value for key, value in good["data"].items() if key != needed}})
    for document in broken:
        with pytest.raises(ValidationError):
            validator.validate(document)
        with pytest.raises(InvalidEvent) as refused:
            registry.read(Event.from_bytes(orjson.dumps(document)))
        assert "red-4711" not in str(refused.value)


def test_clear_fields_of_the_envelope() -> None:
    """Reviewed: see CLEAR_FIELDS."""
    assert set(Event.model_fields) == CLEAR_ENVELOPE


@pytest.mark.parametrize("name", TYPES)
def test_clear_fields_of_a_type(name: str) -> None:
    """Reviewed: see CLEAR_FIELDS."""
    model = registry.MODELS[name]
    found = {field for one in models_in(model) for field in one.model_fields}
    assert found <= CLEAR_FIELDS, found - CLEAR_FIELDS
    if registry.TOPIC_OF[model] != "sealpost.tenants":
        assert not found & OF_THE_BUSINESS


def test_the_allow_list_holds_nothing_that_no_event_has() -> None:
    """So that the review stays a review."""
    found = {field for model in registry.TOPIC_OF for one in models_in(model) for field in one.model_fields}
    assert CLEAR_FIELDS - found == set()


def test_type_names_are_versioned_and_unique() -> None:
    """`sealpost.<thing>.<happened>.v<n>`, one model each."""
    names = [registry.type_name(model) for model in registry.TOPIC_OF]
    assert len(names) == len(set(names)) == len(registry.MODELS)
    for name in names:
        prefix, _, version = name.rpartition(".v")
        assert prefix.startswith("sealpost.")
        assert version.isdigit()


def test_every_model_of_an_events_module_is_registered() -> None:
    """A type that is written has a topic, a schema and a golden file."""

    def concrete(model: type[EventData]) -> Iterator[type[EventData]]:
        for child in model.__subclasses__():
            if child.__module__.startswith("schemas.events."):
                if hasattr(child, "TYPE"):
                    yield child
                yield from concrete(child)

    assert set(concrete(EventData)) == set(registry.TOPIC_OF)
