"""Producers, consumers and topic administration: the only place where librdkafka is set up."""
