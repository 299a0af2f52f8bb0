"""WhatsApp as a channel: what it can do, who processes what, and where its parts are."""

from collections.abc import Sequence

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
from workers.channels.whatsapp import errors, facts, receive, send, wire
from workers.inbound_values import Inbound, JsonObject

CAPABILITIES = Capabilities(
    content_kinds=frozenset(("text", "template", "media", "buttons", "list", "read_mark")),
    address_kinds=frozenset(("phone", "bsuid")),
    text_max_characters=send.TEXT_MAX_CHARACTERS,
    window_s=24 * 3600.0,
    first_contact="template",
    receipts=frozenset(("sent", "delivered", "read", "played", "failed")),
    rate_per_s=80.0,
    pair_interval_s=6.0,
    pair_burst=45,
    title="WhatsApp",
    token_carrier="message_text",  # noqa: S106 - names a place, is no secret
    echoes_our_id=True,
    api_base_url=meta.API_BASE_URL,
    replies=True,
    media_kinds=send.MEDIA_KINDS,
    caption_max_characters=send.CAPTION_MAX_CHARACTERS,
    buttons_max=send.BUTTONS_MAX,
    button_title_max_characters=send.BUTTON_TITLE_MAX_CHARACTERS,
    list_rows_max=send.LIST_ROWS_MAX,
    row_title_max_characters=send.ROW_TITLE_MAX_CHARACTERS,
    row_description_max_characters=send.ROW_DESCRIPTION_MAX_CHARACTERS,
)

_META_ADDENDUM = "https://www.whatsapp.com/legal/business-data-transfer-addendum"
_META_PRIVACY = "https://developers.facebook.com/docs/whatsapp/cloud-api/overview/data-privacy-and-security"
PROCESSING = (
    Processing(
        data="content of messages in both directions",
        company="WhatsApp Ireland Limited, with Meta Platforms, Inc. (Cloud API)",
        country="Ireland; United States",
        region_at_rest="Meta's choice, or the region set by local storage; kept up to 30 days",
        transfer_tool="EU-U.S. Data Privacy Framework; standard contractual clauses held ready",
        source=_META_PRIVACY,
        checked="2026-11-23",
    ),
    Processing(
        data="phone number or business-scoped user id, profile name, times, receipts",
        company="WhatsApp Ireland Limited, with WhatsApp LLC and Meta Platforms, Inc.",
        country="Ireland; United States",
        region_at_rest="Meta's choice; numbers go with the messages they belong to",
        transfer_tool="EU-U.S. Data Privacy Framework; standard contractual clauses held ready",
        source=_META_ADDENDUM,
        checked="2026-11-23",
    ),
)


class WhatsApp:
    """The channel object; it holds nothing. Members are those of `workers.channel.Channel`."""

    name = "whatsapp"
    capabilities = CAPABILITIES
    processing: Sequence[Processing] = PROCESSING

    def read_address(self, text: str) -> Address | None:
        """An international number in any unambiguous spelling, or `CC.…`; None when it is neither."""
        return wire.recipient(text)

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
        return facts.describe(raw)

    def chat_link(self, account_number: str, token: str, words: str = "") -> str:
        """`https://wa.me/…`."""
        return send.chat_link(account_number, token, words)


CHANNEL: Channel = WhatsApp()
