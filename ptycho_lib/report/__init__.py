"""What people see: figures, tables, widgets, reports."""
