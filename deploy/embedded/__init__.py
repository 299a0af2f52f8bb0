"""The embedded parts: a real Kafka and a real PostgreSQL as child processes, on loopback, in one data folder."""
