"""Signing up outside the chat: forms, links, the preference page. Public; nothing here asks for or takes an address (law L11)."""
