"""Three shops, complete: copy one, change what you sell, and run it beside your node."""
