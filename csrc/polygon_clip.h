/* Overlap of quadrilaterals with the pixels of a detector: exact areas by clipping (Sutherland & Hodgman 1974). */
#ifndef ROMAN_POLYGON_CLIP_H
#define ROMAN_POLYGON_CLIP_H

#include <stdint.h>

/* cffi: begin */
/* Pixels that the bounding box of each quadrilateral covers, within [0, ny) x [0, nx): start [n + 1] of its entries.
 * x, y [n][4]: corners in turn, pixel (0, 0) having its centre at (0, 0). */
int roman_clip_sizes(int64_t n, const double *x, const double *y, int64_t ny, int64_t nx, int64_t *start);

/* Row, column and overlap area [px^2] of every entry; areas of convex quadrilaterals, whichever way round. */
int roman_clip_areas(int64_t n, const double *x, const double *y, int64_t ny, int64_t nx, const int64_t *start,
                     int32_t *row, int32_t *column, double *area);
/* cffi: end */

#endif
