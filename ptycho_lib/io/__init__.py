"""One way to read files and one way to write them."""
