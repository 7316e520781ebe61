"""The competitors, each in a process of its own: a module with `prepare(case)`, which returns a callable that does the case's work once a
call, or the forms that work can take there as `{name: function that makes the callable}`; the fastest form stands for the competitor.
No forms, `{}`, where it lacks the kernel."""
