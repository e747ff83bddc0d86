"""Run folders: config, checkpoint, log."""
