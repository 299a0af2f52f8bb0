"""Event types, one file a topic. `registry` lists them all and turns data models into events and back."""
