"""Targets and their configuration."""
