"""Messenger as a channel: what it can do, who processes what, and where its parts are."""

from collections.abc import Mapping, Sequence

from schemas.addresses import Address
from schemas.content import Content
from workers import meta
from workers.channel import (
    AccountAccess,
    Authenticity,
    Capabilities,
    Channel,
    Classified,
    ConnectionSecrets,
    DeliverySteps,
    Fragment,
    Processing,
    ProviderResponse,
    WebhookRequest,
)
from workers.channels.messenger import errors, receive, send
from workers.channels.messenger.wire import PLATFORM
from workers.inbound_values import Inbound, JsonObject
from workers.meta_messaging import wire
from workers.meta_messaging.errors import SKIPPED_CASES
from workers.meta_messaging.send import QUICK_REPLIES_MAX, TITLE_MAX_CHARACTERS

INBOX_RATE_PER_S = 40.0
"""The provider takes 300 texts a second, but above 40 the page's inbox stops showing them to colleagues (channel-apis §3.4);
an account that nobody watches there may have a higher rate of its own.
"""

CAPABILITIES = Capabilities(
    content_kinds=frozenset(("text", "media", "buttons", "read_mark")),
    address_kinds=frozenset((PLATFORM.address_kind,)),
    text_max_characters=PLATFORM.text_max,
    window_s=24 * 3600.0,
    first_contact="nothing",
    receipts=frozenset(PLATFORM.statuses),
    rate_per_s=INBOX_RATE_PER_S,
    pair_interval_s=None,
    pair_burst=1,
    token_carrier="payload",  # noqa: S106 - names a place, is no secret
    echoes_our_id=True,
    api_base_url=meta.API_BASE_URL,
    replies=PLATFORM.replies,
    media_kinds=frozenset(PLATFORM.media),
    buttons_max=QUICK_REPLIES_MAX,
    button_title_max_characters=TITLE_MAX_CHARACTERS,
)

_TRANSFERS = (
    "https://about.fb.com/news/2023/05/our-response-to-the-decision-on-facebooks-eu-us-data-transfers/"
)
PROCESSING = (
    Processing(
        data="content of messages in both directions",
        company="Meta Platforms Ireland Limited, with Meta Platforms, Inc.",
        country="Ireland; United States",
        region_at_rest="Meta's choice; it offers no region for Messenger",
        transfer_tool="EU-U.S. Data Privacy Framework",
        source=_TRANSFERS,
        checked="2026-11-25",
    ),
    Processing(
        data="page-scoped id and the Facebook account behind it, times, receipts, reactions",
        company="Meta Platforms Ireland Limited, with Meta Platforms, Inc.",
        country="Ireland; United States",
        region_at_rest="Meta's choice; it offers no region for Messenger",
        transfer_tool="EU-U.S. Data Privacy Framework",
        source=_TRANSFERS,
        checked="2026-11-25",
    ),
)


class Messenger:
    """The channel object; it holds nothing. Members are those of `workers.channel.Channel`."""

    name = "messenger"
    capabilities = CAPABILITIES
    processing: Sequence[Processing] = PROCESSING
    skipped_cases: Mapping[str, str] = SKIPPED_CASES

    def read_address(self, text: str) -> Address | None:
        """A page-scoped id (digits); None when it is none."""
        return wire.address(PLATFORM, text)

    def authenticate(self, request: WebhookRequest, connection: ConnectionSecrets) -> Authenticity:
        """Meta's signature or handshake."""
        return meta.authenticate(request, connection)

    def split(self, body: bytes) -> list[Fragment]:
        """Fragments of a body, in order."""
        return receive.split(body)

    def parse(self, raw: JsonObject) -> list[Inbound]:
        """Values of one fragment."""
        return receive.parse(raw)

    def deliver(
        self,
        content: Content,
        address: Address,
        account: AccountAccess,
        echo: str,
    ) -> DeliverySteps:
        """One part to one address."""
        return send.deliver(content, address, account, echo)

    def classify(self, response: ProviderResponse) -> Classified:
        """Class of an answer that is no success."""
        return errors.classify(response)

    def describe(self, raw: JsonObject) -> list[JsonObject]:
        """Facts of one fragment, for the command line."""
        return receive.describe(raw)

    def chat_link(self, account_number: str, token: str, words: str = "") -> str:
        """`https://m.me/…`."""
        return send.chat_link(account_number, token)


CHANNEL: Channel = Messenger()
"""Facebook Messenger Platform. See README.md for the provider's pages, quirks and the date they were
checked.
"""
