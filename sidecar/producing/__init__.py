"""What is written to Kafka: the records of lambdas, and dead letters."""
