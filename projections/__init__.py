"""Read models: the projector fills them from the log, `projections.api` answers questions from them."""
