"""How `um up` keeps the parts of an installation running. Standard library only: it starts in a tenth of a second."""
