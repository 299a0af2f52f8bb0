"""The first start of an embedded instance: master key, a sandbox tenant with its agreement, a simulated account, tokens.

Every step is repeatable: a start that was killed half-way is finished by the next one.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from deploy import instance
from deploy.instance import Instance, Tokens, WhatsAppSandbox
from deploy.settings import HOST
from schemas.constants import Times
from schemas.ids import random_id, random_token
from schemas.texts import Language
from streams.kafka.producer import OrderedProducer
from streams.kafka.settings_follower import SettingsFollower
from vault.connections import AccountLimits
from vault.keyring import MasterKey
from vault.vault import Vault
from workers.intake import tenants

TENANT = "sandbox"
TENANT_NAME = "Sandbox GmbH"
CONNECTION = "sandbox-whatsapp"
ACCOUNT = "100000000000001"
"""The phone number id of the simulated account: what webhooks carry in `metadata.phone_number_id`."""
NUMBER = "4930000000"
LIMITS = AccountLimits(pair_interval_s=0)
"""The simulated account has no pair limit, so that a test may send hundreds of messages to one person: with the provider's the
46th would wait 6 s."""
NOTICE_URLS: Mapping[Language, str] = {
    "de": "https://sandbox.example/datenschutz",
    "en": "https://sandbox.example/privacy",
}
MASTER_KEY_FILE = "master.key"
GRAPH_VERSION = "v25.0"


def describe(data: Path, ports: dict[str, int], dsns: dict[str, str], times: Times) -> Instance:
    """The instance as it starts now: known secrets are kept, addresses are those of today."""
    known = instance.load(data)
    key_file = data / MASTER_KEY_FILE
    MasterKey.create_file(key_file)
    receiver, simulator = f"http://{HOST}:{ports['receiver']}", f"http://{HOST}:{ports['simulator']}"
    whatsapp = WhatsAppSandbox(
        webhook_url=f"{receiver}/webhooks/whatsapp/{CONNECTION}",
        connection=CONNECTION,
        account=ACCOUNT,
        app_secret=known.whatsapp.app_secret if known else random_id(),
        verify_token=known.whatsapp.verify_token if known else random_id(),
        simulator_url=simulator,
    )
    sandbox_key = known.sandbox_key if known else random_token()
    return Instance(
        kafka=f"{HOST}:{ports['kafka']}",
        vault_dsn=dsns["vault"],
        streams_dsn=dsns["streams"],
        projections_dsn=dsns["projections"],
        receiver_url=receiver,
        api_url=f"http://{HOST}:{ports['api']}",
        master_key_file=str(key_file),
        tenant=TENANT,
        tokens=known.tokens if known else None,
        whatsapp=whatsapp,
        access_token=known.access_token if known else random_token(),
        times=asdict(times),
        sandbox_key=sandbox_key,
    )


def agree_on_times(found: Instance, times: Times) -> None:
    """None of its processes runs yet: they are started with the times of today."""
    vault = Vault(found.vault_dsn, MasterKey.from_file(Path(found.master_key_file)), times)
    try:
        vault.agree_on_times()
    finally:
        vault.close()


def make_sandbox(found: Instance, times: Times) -> Instance:
    """Register what is missing: tenant, notices, agreement, account, tokens; the instance with its tokens."""
    vault = Vault(found.vault_dsn, MasterKey.from_file(Path(found.master_key_file)), times)
    try:
        if found.tokens is not None:
            _place_account(vault, found)
            return found
        _publish(vault, found)
        tokens = Tokens(
            admin=vault.issue_token(None, "admin"),
            officer=vault.issue_token(TENANT, "officer"),
            agent=vault.issue_token(TENANT, "agent"),
            producer=vault.issue_token(TENANT, "producer"),
        )
        return found.model_copy(update={"tokens": tokens})
    finally:
        vault.close()


def _place_account(vault: Vault, found: Instance) -> None:
    """Ports may differ from the last start: the account's API is where the simulator listens today."""
    with vault.transaction() as cursor:
        sandbox = found.whatsapp
        vault.add_connection(cursor, CONNECTION, TENANT, "whatsapp", sandbox.app_secret, sandbox.verify_token)
        url = f"{sandbox.simulator_url}/{GRAPH_VERSION}"
        vault.add_account(cursor, ACCOUNT, CONNECTION, ACCOUNT, found.access_token, url)
        vault.limit_account(cursor, ACCOUNT, LIMITS)


def _publish(vault: Vault, found: Instance) -> None:
    producer = OrderedProducer(found.kafka, client_id="sealpost-bootstrap")
    follower = SettingsFollower(found.kafka)
    follower.start()
    try:
        follower.wait_ready(30)
        registrar = tenants.Registrar(vault, producer, found.api_url)
        if follower.tenant(TENANT) is None:
            registrar.register(TENANT, TENANT_NAME, "de")
        _place_account(vault, found)
        for language, url in NOTICE_URLS.items():
            registrar.publish_notice(TENANT, language, url)
        registrar.approve_channel(TENANT, "whatsapp", CONNECTION, ACCOUNT, NUMBER)
        registrar.sign_dpa(TENANT, "sandbox-1")
    finally:
        follower.stop()
        producer.close()
