"""Raw fragments in, sealed events out: opens, parses, finds or creates the subject, recognises intents."""
