"""Webhooks in: verify, split, seal to the tenant's day key, durable in Kafka before 2xx. Needs Kafka only."""
