"""Interactions of users with items in time: files, sequences, random views, generated data."""
