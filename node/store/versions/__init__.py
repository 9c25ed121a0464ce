"""One file per version of the schema, each saying how to come there from the one before (../README.md).

They are alike, and like tables.py, and stay so: each is what was true then, and nothing here may change with it."""
