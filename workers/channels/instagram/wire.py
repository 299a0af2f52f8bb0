"""What marks Instagram among Meta's platforms; the JSON itself is shared and stands in `workers/meta_messaging/wire.py`.

Source: https://developers.facebook.com/docs/messenger-platform/instagram/features/webhook and
channel-apis §4, checked 2026-11-25.
"""

from workers.meta_messaging.platform import Platform

PLATFORM = Platform(
    channel="instagram",
    title="Instagram",
    object="instagram",
    address_kind="igsid",
    text_max=1_000,
    text_unit="bytes",
    media={"image": "image", "video": "video", "audio": "audio"},
    replies=False,
    statuses=("sent", "read"),
    read_names_message=True,
    link_source="SHORTLINKS",
)
