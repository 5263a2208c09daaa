"""Publishes the gateway's route table, and asks the gateway what it sees."""
