"""A standalone cron-like daemon with a TOML jobfile, whose books balance."""

__version__ = "0.1.0"
