"""Machinery shared by all parts of the library."""
