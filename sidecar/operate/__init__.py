"""What an operator sees and does: status, resume, metrics, health."""
