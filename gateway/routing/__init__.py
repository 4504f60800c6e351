"""Which route: the path in its canonical form, the indexed table, and the target that the backend is asked for."""
