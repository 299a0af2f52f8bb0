"""The double opt-in machine: who has asked, been asked, said yes, said no, said stop; in which language."""
