"""Channels are found by their entry points alone."""

import tomllib
from importlib import import_module
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from workers import registry
from workers.channel import UnknownChannel

ROOT = Path(__file__).parents[3]


def declared(group: str) -> dict[str, str]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: dict[str, str] = project["entry-points"][group]
    return found


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry points of pyproject.toml, whether the project is installed here or not."""

    def entry_points(group: str) -> EntryPoints:
        return EntryPoints(EntryPoint(name, value, group) for name, value in declared(group).items())

    monkeypatch.setattr(registry, "entry_points", entry_points)
    registry.channel.cache_clear()
    registry.simulator.cache_clear()


@pytest.mark.usefixtures("installed")
def test_every_declared_channel_is_found_with_its_simulator() -> None:
    assert {"instagram", "messenger", "telegram", "whatsapp"} <= set(registry.channel_names())
    for name in registry.channel_names():
        assert registry.channel(name).name == name
        assert callable(registry.simulator(name))


@pytest.mark.usefixtures("installed")
def test_an_unknown_channel_names_the_nearest() -> None:
    with pytest.raises(UnknownChannel, match="did you mean 'whatsapp'"):
        registry.channel("watsap")
    with pytest.raises(UnknownChannel, match=r"there are: .*whatsapp"):
        registry.channel("zz")


def test_nothing_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda **_: EntryPoints())
    registry.channel.cache_clear()
    with pytest.raises(
        UnknownChannel, match=r"no installed package has an entry point in sealpost\.channels"
    ):
        registry.channel("whatsapp")


def test_every_channel_folder_is_declared() -> None:
    folders = [f for f in (ROOT / "workers" / "channels").iterdir() if f.is_dir() and f.name != "__pycache__"]
    assert {folder.name for folder in folders} == set(declared(registry.CHANNELS_GROUP))
    for folder in folders:
        assert import_module(f"workers.channels.{folder.name}.channel").CHANNEL.name == folder.name
