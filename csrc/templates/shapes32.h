/* Matrix tiles for thirty-two vector registers: twenty-four accumulators, columns, broadcasts. Few rows get wide tiles, so that there
 * are always enough independent sums to hide the latency of a multiply-add. */
#define FNN_MOST_ROWS 8
#define FNN_MOST_VECTORS 8
#define FNN_VECTORS {0, 8, 8, 8, 6, 4, 4, 3, 3}
#define FNN_SHAPES(X) \
    X(1, 1) X(1, 2) X(1, 3) X(1, 4) X(1, 5) X(1, 6) X(1, 7) X(1, 8) X(2, 1) X(2, 2) X(2, 3) X(2, 4) X(2, 5) X(2, 6) X(2, 7) X(2, 8) \
    X(3, 1) X(3, 2) X(3, 3) X(3, 4) X(3, 5) X(3, 6) X(3, 7) X(3, 8) X(4, 1) X(4, 2) X(4, 3) X(4, 4) X(4, 5) X(4, 6) \
    X(5, 1) X(5, 2) X(5, 3) X(5, 4) X(6, 1) X(6, 2) X(6, 3) X(6, 4) X(7, 1) X(7, 2) X(7, 3) X(8, 1) X(8, 2) X(8, 3)
#define FNN_DRAW_VECTORS 4 /* vectors of dropout counters in flight; each takes four registers */
