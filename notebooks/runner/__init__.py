"""Runs, checks and shows the numbered notebooks; no part of the library."""
