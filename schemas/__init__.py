"""What Sealpost publishes: events, content, addresses, catalogues of topics, metrics and problems, ids and clock.

Imports nothing else of Sealpost. Every other package imports this one.
"""
