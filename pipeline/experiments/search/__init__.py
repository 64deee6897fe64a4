"""A search: it draws configurations from a space, trains them, and chooses the best on validation data.

`stage` is the experiment, `winner` what it comes to and the file that keeps it, `section` what the page shows of it.
"""
