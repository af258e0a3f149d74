"""Generated from ``proto/``, except ``names``: run ``make proto`` after a change there."""
