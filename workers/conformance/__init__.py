"""The conformance kit: what every channel must do, as tests that any channel runs (DESIGN §9, ADDING_CHANNELS.md).

For test suites alone: it needs pytest and hypothesis, which running Sealpost does not. Others import it as
`sealpost.conformance`.
"""
