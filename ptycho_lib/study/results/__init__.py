"""From complete runs to one table, its statistics and the headline."""
