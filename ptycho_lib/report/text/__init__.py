"""Sentences, tables and HTML elements about a study."""
