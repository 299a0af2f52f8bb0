"""Letterbox, a provider that does not exist: what a channel from outside looks like."""

import hmac
import re

import orjson

import sealpost as sp

SIGNATURE = "x-letterbox-signature"
TEXT_MAX = 500
BOX = re.compile(r"box-[0-9]{6}\Z", re.ASCII)
ERRORS = {
    "no_more_mail": sp.Classified("UNREACH", None, opted_out=True), "box_is_gone": sp.Classified("UNREACH", None),
    "box_full": sp.Classified("UNREACH", None, message_only=True),
}  # fmt: skip


def signature(secret: str, body: bytes) -> str:
    return hmac.digest(secret.encode(), body, "sha256").hex()


class Letterbox:
    name = "letterbox"
    capabilities = sp.Capabilities(
        content_kinds=frozenset({"text"}), address_kinds=frozenset({"opaque"}), text_max_characters=TEXT_MAX,
        window_s=None, first_contact="nothing", receipts=frozenset(), rate_per_s=10.0, pair_interval_s=None, pair_burst=1,
        token_carrier="message_text", echoes_our_id=False, names_account=False,
    )  # fmt: skip
    processing = (sp.Processing("all", "Letterbox", "Ireland", "Ireland", "", "https://lb.example", "2026-11-25"),)  # fmt: skip
    skipped_cases = {"handshake": "the provider posts to any address it is told"}

    def read_address(self, text: str) -> sp.Address | None:
        return sp.Address(self.name, "opaque", text) if BOX.match(text) else None

    def authenticate(self, request: sp.WebhookRequest, connection: sp.ConnectionSecrets) -> sp.Authenticity:
        given = request.headers.get(SIGNATURE, "").encode("utf-8", "replace")
        right = signature(connection.app_secret, request.body).encode()
        genuine = connection.app_secret and hmac.compare_digest(given, right)
        return sp.Accepted() if genuine else sp.Denied(401, "mismatch")

    def split(self, body: bytes) -> list[sp.Fragment]:
        found = sp.load_body(body)
        if not isinstance(found, dict) or not isinstance(found.get("events"), list):
            raise sp.UnparseableBody("no webhook of Letterbox")
        events = [event if isinstance(event, dict) else {"malformed": event} for event in found["events"]]
        return [sp.Fragment("", str(event.get("from", "")), event) for event in events]

    def parse(self, raw: sp.JsonObject) -> list[sp.Inbound]:
        match raw:
            case {"type": "mail", "id": str(ref), "from": str(by), "text": str(text)} if ref and BOX.match(by):  # fmt: skip
                sender = (sp.Address(self.name, "opaque", by),)
                return [sp.InboundMessage("", ref, 0, sender, None, "text", "mail", text)]
            case {"type": "mail"}:
                raise sp.UnparseableFragment("malformed")
        return [sp.InboundUnsupported("", "other", "other", None, raw)]

    def deliver(
        self, content: sp.Content, address: sp.Address, account: sp.AccountAccess, echo: str
    ) -> sp.DeliverySteps:
        if content.type != "text" or content.in_reply_to or len(content.text) > TEXT_MAX:
            raise sp.UnsupportedContent("Letterbox takes short texts that answer nothing")
        headers = {"Authorization": f"Bearer {account.access_token}", "Content-Type": "application/json"}
        body = orjson.dumps({"to": address.value, "text": content.text})
        response = yield sp.ProviderRequest("POST", f"{account.api_base_url}/mails", headers, body)
        return sp.outcome_by_status(response, sp.json_object(response.body).get("id"), self.classify)

    def classify(self, response: sp.ProviderResponse) -> sp.Classified:
        return ERRORS.get(str(sp.json_object(response.body).get("error"))) or sp.classify_by_status(response)

    def describe(self, raw: sp.JsonObject) -> list[sp.JsonObject]:
        return [{"kind": "mail" if raw.get("type") == "mail" else "other"}]

    def chat_link(self, account_number: str, token: str, words: str = "") -> str:
        sp.check_token(token)
        return f"https://letterbox.example/{account_number}?text={token}"


CHANNEL: sp.Channel = Letterbox()
