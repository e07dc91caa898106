/* The matched filter of one exposure at every point of a grid, added to the sums of several exposures.
 *
 * The grid has two points a pixel of a reference frame and lies in blocks of 16 x 16 px. In each block the exposure is
 * taken to be the reference frame shifted by one offset: between dithers of a stable telescope distortion changes
 * that by less than a hundredth of a pixel over a block, so that one ePSF stamp serves all its points of a phase, and
 * the filter is a correlation along rows instead of a stamp for every point.
 */
#ifndef ROMAN_GRID_SUMS_H
#define ROMAN_GRID_SUMS_H

#include <stdint.h>

#include "exposure_fit.h"

/* cffi: begin */
/* dx, dy [blocks_y][blocks_x]: x, y of the exposure minus those of the reference frame at each block [px].
 * signal, weight [padded image]: w r and w.
 * sum, norm, top_sum, top_norm [2][2][16 blocks_y][16 blocks_x], element (sy, sx, y, x) being the point
 * (x + sx / 2, y + sy / 2) of the reference frame: to sum and norm, sum w psi r and sum w psi^2 over the 7 x 7 px
 * around the point are added; top_sum, top_norm hold those of the exposure with the largest |sum| / sqrt(norm).
 * Blocks that reach over the padded image are left as they are. */
int roman_grid_sums(const roman_psf_field *field, const roman_frame *frame, int64_t blocks_y, int64_t blocks_x,
                    const double *dx, const double *dy, const float *signal, const float *weight,
                    float *sum, float *norm, float *top_sum, float *top_norm, int32_t level);
/* cffi: end */

#endif
