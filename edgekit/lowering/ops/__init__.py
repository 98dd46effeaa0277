"""The lowerings, one op family a file; each registers itself with `@lowers`."""
