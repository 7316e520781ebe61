"""Data that is shipped with the package; `README.md` beside it states source and licence. Read it through `fastnn.datasets`."""
