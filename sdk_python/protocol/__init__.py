"""Generated from ``proto/``: run ``make proto`` after a change there."""
