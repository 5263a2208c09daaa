"""The only code that knows a kind of compute. A driver makes runners appear on machines; runners do everything else."""
