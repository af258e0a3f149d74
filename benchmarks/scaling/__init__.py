"""What a fleet needs: the measured costs of one partition, record and process, and a simulation that adds them up."""
