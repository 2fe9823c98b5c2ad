"""Suites: what is compared, from TOML file to plan."""
