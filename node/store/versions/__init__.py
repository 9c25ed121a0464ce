"""One file per version of the schema, each saying how to come there from the one before (../README.md)."""
