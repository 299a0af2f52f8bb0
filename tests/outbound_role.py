"""The role outbound as a process for fault tests: `python -m tests.outbound_role '<json>'`.

JSON: bootstrap, dsn, group. Times and master key come from the environment. Ends on SIGTERM with 0.
"""

import logging
import os
import signal
import sys
import threading
from typing import Any

import orjson

from schemas.constants import Times
from schemas.errors import SealpostError
from streams.kafka.settings_follower import SettingsFollower
from vault.keyring import MasterKey
from vault.vault import Vault
from workers.channels.whatsapp.channel import CHANNEL
from workers.outbound.worker import OutboundConfig, OutboundWorker


def main(config: dict[str, Any]) -> int:
    """Run until told to stop."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    times = Times.from_environment(os.environ)
    vault = Vault(config["dsn"], MasterKey.from_environment(os.environ), times)
    settings = SettingsFollower(config["bootstrap"])
    settings.start()
    outbound = OutboundConfig(config["bootstrap"], {CHANNEL.name: CHANNEL}, times, group=config["group"])
    try:
        OutboundWorker(outbound, vault, settings).run(stop)
    except SealpostError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    finally:
        settings.stop()
        vault.close()
    return 0


if __name__ == "__main__":
    logging.basicConfig(
        level="INFO", format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    sys.exit(main(orjson.loads(sys.argv[1])))
