"""Exports the JSON Schema of every event type to `schemas/exported/<type>.json`: `python -m schemas.export`.

The files are committed; a test compares them with what this module gives.
"""

from pathlib import Path

import orjson

from schemas.events import registry

FOLDER = Path(__file__).parent / "exported"


def documents() -> dict[str, bytes]:
    """File name → JSON Schema of one event type, as it stands in the folder."""
    option = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    return {
        f"{name}.json": orjson.dumps(registry.json_schema(name), option=option)
        for name in sorted(registry.MODELS)
    }


def write(folder: Path = FOLDER) -> list[str]:
    """Write all documents and delete those of types that do not exist; the names written."""
    folder.mkdir(exist_ok=True)
    wanted = documents()
    for path in folder.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
    for name, content in wanted.items():
        (folder / name).write_bytes(content)
    return list(wanted)


if __name__ == "__main__":
    write()
