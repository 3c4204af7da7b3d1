"""The contract that every registered variant meets."""
