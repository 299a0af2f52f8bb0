"""The log made readable: events as they land, sealed blocks as what they are, opened only for who may and says why."""
