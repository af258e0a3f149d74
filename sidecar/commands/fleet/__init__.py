"""Several sidecars as one: which there are (`addresses`), and what each of them answers (`asking`)."""
