"""Kafka clients, the step engine and the processors (DESIGN §6, §8)."""
