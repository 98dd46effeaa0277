"""Passes: Model in, Model out, with a claim that the framework checks. One family a folder, one idea a file."""
