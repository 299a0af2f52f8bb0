"""Apple Messages for Business as a channel: what it can do, who processes what, and where its parts are."""

from collections.abc import Callable, Mapping, Sequence

from schemas import clock
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
from workers.channels.apple import errors, receive, send, wire
from workers.inbound_values import Inbound, JsonObject

CAPABILITIES = Capabilities(
    title="Apple Messages",
    content_kinds=frozenset(("text", "media", "buttons", "list")),
    address_kinds=frozenset(("opaque",)),
    text_max_characters=send.TEXT_MAX_CHARACTERS,
    window_s=None,
    first_contact="nothing",
    receipts=frozenset(),
    rate_per_s=send.RATE_PER_S,
    pair_interval_s=None,
    pair_burst=1,
    token_carrier="payload",  # noqa: S106 - names a place, is no secret
    echoes_our_id=False,
    api_base_url=send.API_BASE_URL,
    media_kinds=frozenset(("image", "video", "audio", "document")),
    caption_max_characters=send.CAPTION_MAX_CHARACTERS,
    buttons_max=send.BUTTONS_MAX,
    button_title_max_characters=send.BUTTON_TITLE_MAX_CHARACTERS,
    list_rows_max=send.LIST_ROWS_MAX,
    row_title_max_characters=send.BUBBLE_TITLE_MAX_CHARACTERS,
    row_description_max_characters=send.BUBBLE_SUBTITLE_MAX_CHARACTERS,
)

_SECURITY = "https://support.apple.com/guide/security/secure-apple-messages-for-business-sec1c603aab4/web"
_PRIVACY = "https://www.apple.com/legal/privacy/"
_COMPANY = "Apple Distribution International Limited, a controller of its own, with Apple Inc."
_COUNTRY = "Ireland; United States"
_TRANSFER = (
    "standard contractual clauses within Apple's group; Apple Inc. takes no part in the EU-U.S. framework"
)
_CHECKED = "2026-11-25"
PROCESSING = (
    Processing(
        data="content of messages in both directions",
        company=_COMPANY,
        country=_COUNTRY,
        region_at_rest="nowhere in clear: read in memory on the way; kept sealed for a device that is away, up to 30 days",
        transfer_tool=_TRANSFER,
        source=_SECURITY,
        checked=_CHECKED,
    ),
    Processing(
        data="the Apple account behind the opaque id, language and abilities of the device, times, whether the chat was closed",
        company=_COMPANY,
        country=_COUNTRY,
        region_at_rest="Apple's choice; it offers no region for Messages for Business",
        transfer_tool=_TRANSFER,
        source=_PRIVACY,
        checked=_CHECKED,
    ),
)


class Apple:
    """The channel object; it holds a clock and nothing else, for its calls state when they were signed
    (docs/decisions/091). Members are those of `workers.channel.Channel`."""

    name = "apple"
    capabilities = CAPABILITIES
    processing: Sequence[Processing] = PROCESSING
    skipped_cases: Mapping[str, str] = {
        "every_fragment_of_a_batch": "a webhook of Apple is one message",
        "changed_body": "Apple's token signs no body; where headers and body name something it must be the same",
        "handshake": "Apple has none: it is told the address when a business is connected",
    }

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms

    def read_address(self, text: str) -> Address | None:
        """An opaque id; or `tel:+…`, the number of somebody who was invited, whom nothing can be sent to."""
        return wire.address(text)

    def authenticate(self, request: WebhookRequest, connection: ConnectionSecrets) -> Authenticity:
        """Apple's bearer token."""
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
        return send.deliver(content, address, account, echo, self._now_ms() // clock.MS_PER_S)

    def classify(self, response: ProviderResponse) -> Classified:
        """Class of an answer that is no success."""
        return errors.classify(response)

    def describe(self, raw: JsonObject) -> list[JsonObject]:
        """Facts of one fragment, for the command line."""
        return receive.describe(raw)

    def chat_link(self, account_number: str, token: str, words: str = "") -> str:
        """`https://bcrw.apple.com/…`."""
        return send.chat_link(account_number, token)


CHANNEL: Channel = Apple(clock.now_ms)
