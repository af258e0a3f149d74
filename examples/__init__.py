"""Small lambdas to read and to start from."""
