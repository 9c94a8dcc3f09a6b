"""What goes into training and test: datasets, their checks, preparation and sampling."""
