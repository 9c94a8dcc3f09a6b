"""Where figures and text go: notebooks, HTML reports, PDF and publication files."""
