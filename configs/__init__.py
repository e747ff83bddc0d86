"""Recipes: one YAML file each. ``equissl pretrain --config NAME`` finds them without a path."""
