"""The competitors, each in a process of its own: a module with `prepare(case) -> callable` that does the case's work once a call."""
