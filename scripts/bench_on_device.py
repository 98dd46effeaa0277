"""Measures an artifact on the device it runs on."""
