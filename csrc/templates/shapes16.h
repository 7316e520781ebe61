/* Matrix tiles for sixteen vector registers: twelve accumulators, three columns, one broadcast. Few rows get wide tiles, so that
 * there are always enough independent sums to hide the latency of a multiply-add. */
#define FNN_MOST_ROWS 4
#define FNN_MOST_VECTORS 8
#define FNN_VECTORS {0, 8, 6, 4, 3}
#define FNN_SHAPES(X) \
    X(1, 1) X(1, 2) X(1, 3) X(1, 4) X(1, 5) X(1, 6) X(1, 7) X(1, 8) X(2, 1) X(2, 2) X(2, 3) X(2, 4) X(2, 5) X(2, 6) \
    X(3, 1) X(3, 2) X(3, 3) X(3, 4) X(4, 1) X(4, 2) X(4, 3)
#define FNN_DRAW_VECTORS 2 /* vectors of dropout counters in flight; each takes four registers */
