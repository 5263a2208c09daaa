"""What to do next: `plan(state, seen, now) -> Plan`, with the reasons. Pure: nothing here waits or writes."""
