"""Records of the inbound topics and of `sealpost.ingresskeys`."""

from typing import ClassVar

from schemas.envelope import EventData


class FragmentReceived(EventData):
    """One raw fragment of an authentic webhook, sealed to the tenant's day key. The envelope's subject is the connection.

    `day` names the day key (`YYYY-MM-DD`, the receiver's clock); `ct` is base64 of the sealed JSON
    `{"fragment": <provider's JSON>}` (vault.ingress).
    """

    TYPE: ClassVar[str] = "sealpost.fragment.received.v1"
    connection: str
    account: str
    day: str
    alg: str
    ct: str


class IngressKeyPublished(EventData):
    """Public half of a tenant's day key: X25519 (RFC 7748), base64. The record key is `tenant/day`."""

    TYPE: ClassVar[str] = "sealpost.ingresskey.published.v1"
    day: str
    public: str
