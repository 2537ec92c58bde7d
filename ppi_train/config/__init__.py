"""Typed configuration of the run modes: schema, coercion, loading, overrides."""
