"""The register of stores: everything that holds data of a subject and must answer an erasure with a purge receipt.

`tests/store_register.py` says which tables each of them empties, and why any other stays; a test compares that with the
tables that the migrations make (privacy.md P26).
"""

VAULT = "vault"
SUBSCRIBER_STATE = "streams.subscriber"
PROJECTION_V1 = "projections.v1"
STORES = (VAULT, SUBSCRIBER_STATE, PROJECTION_V1)
