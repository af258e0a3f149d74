"""What `status`, `explain` and `top` show.

Which part of the answers is meant (`selection`), as rows of a table (`rows`), and as one text for people (`text`):
these three are pure. The commands ask and print.
"""
