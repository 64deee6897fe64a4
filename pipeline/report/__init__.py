"""Statistics, tables, figures and verdicts; pure: from frames of rows to what people read."""
