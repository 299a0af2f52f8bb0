"""Queries by HTTP: read models joined with what the vault says about the subject, blocks opened for roles that may."""
