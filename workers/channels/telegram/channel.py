"""Telegram as a channel: what it can do, who processes what, and where its parts are."""

from collections.abc import Mapping, Sequence

from schemas.addresses import Address
from schemas.content import Content
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
from workers.channels.telegram import errors, receive, send, wire
from workers.inbound_values import Inbound, JsonObject

CAPABILITIES = Capabilities(
    content_kinds=frozenset(("text", "media", "buttons", "list")),
    address_kinds=frozenset(("chat",)),
    text_max_characters=send.TEXT_MAX_CHARACTERS,
    window_s=None,
    first_contact="nothing",
    receipts=frozenset(),
    rate_per_s=send.RATE_PER_S,
    pair_interval_s=send.PAIR_INTERVAL_S,
    pair_burst=send.PAIR_BURST,
    token_carrier="payload",  # noqa: S106 - names a place, is no secret
    echoes_our_id=False,
    names_account=False,
    api_base_url=send.API_BASE_URL,
    replies=True,
    answerable_acts=frozenset((wire.PRESS,)),
    media_kinds=frozenset(send.METHODS),
    caption_max_characters=send.CAPTION_MAX_CHARACTERS,
    buttons_max=send.BUTTONS_MAX,
    button_title_max_characters=send.TITLE_MAX_CHARACTERS,
    list_rows_max=send.BUTTONS_MAX,
    row_title_max_characters=send.TITLE_MAX_CHARACTERS,
)

_PRIVACY = "https://telegram.org/privacy"
_CONTROLLER = "Telegram Messenger Inc., a controller of its own; EU representative: EDPO, Brussels"
_COUNTRY = "British Virgin Islands; group companies there and in Dubai"
_TRANSFER = (
    "none that Telegram offers to businesses was found: it processes for itself, not for the bot's owner; "
    "within its group standard contractual clauses"
)
_CHECKED = "2026-11-25"
PROCESSING = (
    Processing(
        data="content of messages in both directions",
        company=_CONTROLLER,
        country=_COUNTRY,
        region_at_rest="Netherlands for people who signed up in the EEA or the UK; kept until the person deletes it",
        transfer_tool=_TRANSFER,
        source=_PRIVACY,
        checked=_CHECKED,
    ),
    Processing(
        data="chat id, name shown, user name, language of the app, times; whether the person blocked the bot",
        company=_CONTROLLER,
        country=_COUNTRY,
        region_at_rest="Netherlands for people who signed up in the EEA or the UK",
        transfer_tool=_TRANSFER,
        source=_PRIVACY,
        checked=_CHECKED,
    ),
)


class Telegram:
    """The channel object; it holds nothing. Members are those of `workers.channel.Channel`."""

    name = "telegram"
    capabilities = CAPABILITIES
    processing: Sequence[Processing] = PROCESSING
    skipped_cases: Mapping[str, str] = {
        "every_fragment_of_a_batch": "a webhook of Telegram is one update, which holds one fact",
        "changed_body": "Telegram's proof is a shared secret in a header, no signature of the body",
        "handshake": "Telegram has none: setWebhook is told the secret and the address",
    }

    def read_address(self, text: str) -> Address | None:
        """The id of a private chat; None for a group's, a channel's, and for a user name."""
        return wire.recipient(text)

    def authenticate(self, request: WebhookRequest, connection: ConnectionSecrets) -> Authenticity:
        """Telegram's secret header."""
        return receive.authenticate(request, connection)

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
        return send.deliver(content, address, account)

    def classify(self, response: ProviderResponse) -> Classified:
        """Class of an answer that is no success."""
        return errors.classify(response)

    def describe(self, raw: JsonObject) -> list[JsonObject]:
        """Facts of one fragment, for the command line."""
        return receive.describe(raw)

    def chat_link(self, account_number: str, token: str, words: str = "") -> str:
        """`https://t.me/…`."""
        return send.chat_link(account_number, token)


CHANNEL: Channel = Telegram()
