"""The register of stores: everything that holds data of a subject and must answer an erasure with a purge receipt.

A test compares this list with the databases and tables that exist (privacy.md P26).
"""

VAULT = "vault"
SUBSCRIBER_STATE = "streams.subscriber"
PROJECTION_V1 = "projections.v1"
STORES = (VAULT, SUBSCRIBER_STATE, PROJECTION_V1)
