"""The typed configuration of every run mode: schema, strict coercion, loading and overrides."""
