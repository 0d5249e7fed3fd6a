"""Files: one module a format, its reader and its writer together."""
