"""Builds what npserver is installed from: `make dist`, `make single`, `make deb`. Other files are for operators."""
