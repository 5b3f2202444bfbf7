"""Tests of whether a target serves the model that it claims to serve."""
