"""What marks Messenger among Meta's platforms; the JSON itself is shared and stands in `workers/meta_messaging/wire.py`.

Source: https://developers.facebook.com/docs/messenger-platform/reference/webhook-events and
https://developers.facebook.com/docs/messenger-platform/reference/send-api (channel-apis §3.1, §3.2), checked 2026-11-25.
"""

from workers.meta_messaging.platform import Platform

PLATFORM = Platform(
    channel="messenger",
    title="Messenger",
    object="page",
    address_kind="psid",
    text_max=2_000,
    text_unit="characters",
    media={"image": "image", "video": "video", "audio": "audio", "document": "file"},
    replies=True,
    statuses=("sent", "delivered", "read"),
    read_names_message=False,
    link_source="SHORTLINK",
)
