"""Views rendered while they are trained on."""
