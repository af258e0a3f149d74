"""An evening on call: five things happen to one lambda on real Kafka. docs/operate/evening.md is its transcript."""
