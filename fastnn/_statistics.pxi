# Statistics of the columns of tables, and hashes of their rows. Part of _core.pyx.

cdef extern from "fastnn.h" nogil:
    struct fnn_table:
        const void *data
        size_t element
        Py_ssize_t rows, columns
    void fnn_column_moments(const fnn_table *, Py_ssize_t, double *, double *) noexcept
    void fnn_column_extremes(const fnn_table *, Py_ssize_t, double *, double *) noexcept
    void fnn_row_hashes(const fnn_table *, uint64_t *) noexcept


cdef fnn_table table_of(x):
    """The view of a contiguous array, which the caller keeps alive."""
    cdef fnn_table table
    table.data = <const void *>address("x", x, x.dtype, x.shape, False)
    table.element = x.itemsize
    table.rows, table.columns = x.shape
    return table


def by_columns(str function, x, block, bint moments):
    """Two arrays float64 `(blocks, i)`: mean less the first row, and sum of squares; or the least and the largest value."""
    x = np.require(checks.table(function, x), requirements=("C", "A"))
    cdef Py_ssize_t rows = checks.integer(function, "block", block, 1, 2**53)
    cdef tuple shape = ((len(x) + rows - 1) // rows, x.shape[1])
    first, second = empty(shape), empty(shape)
    cdef fnn_table table = table_of(x)
    cdef double *one = <double *>address("first", first, float64, shape, True)
    cdef double *two = <double *>address("second", second, float64, shape, True)
    with nogil:
        if moments:
            fnn_column_moments(&table, rows, one, two)
        else:
            fnn_column_extremes(&table, rows, one, two)
    return first, second


def row_hashes(str function, x):
    """A hash of every row, uint64 `(n,)`."""
    x = np.require(checks.table(function, x), requirements=("C", "A"))
    hashes = empty(len(x), np.uint64)
    cdef fnn_table table = table_of(x)
    cdef uint64_t *out = <uint64_t *>address("hashes", hashes, hashes.dtype, hashes.shape, True)
    with nogil:
        fnn_row_hashes(&table, out)
    return hashes
