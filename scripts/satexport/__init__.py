"""What scripts/export.py is made of: see the modules."""
