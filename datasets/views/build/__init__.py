"""Resumable, sharded builder of view stores."""
