"""Loops: look, plan, act. Woken by writes and reports, and by a slow clock as the safety net."""
