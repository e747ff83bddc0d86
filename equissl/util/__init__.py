"""Machinery that every part of the library shares."""
