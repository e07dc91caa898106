#include "grid_sums.h"

#include <math.h>

#define BLOCK 16
#define HALF 3
#define SIDE (2 * HALF + 1)

#define KERNEL_BODY "grid_sums_body.h"
#include "levels.h"

int roman_grid_sums(const roman_psf_field *field, const roman_frame *frame, int64_t blocks_y, int64_t blocks_x,
                    const double *dx, const double *dy, const float *signal, const float *weight,
                    float *sum, float *norm, float *top_sum, float *top_norm, int32_t level)
{
    double zero = 0;
    int32_t half = HALF;
    if (blocks_y < 0 || blocks_x < 0 || field->cells_y < 1 || field->cells_x < 1 || !(field->cell_px > 0) ||
        frame->ny < 1 || frame->nx < 1 || frame->pad < 0 ||
        !roman_stamps_fit(&field->psf, NULL, 1, &zero, &zero, &half)) {
        return ROMAN_ERR_ARGUMENT;
    }
    for (int64_t b = 0; b < blocks_y * blocks_x; b++) {
        if (!isfinite(dx[b]) || !isfinite(dy[b])) return ROMAN_ERR_ARGUMENT;
    }
    return DISPATCH(level, grid_sums, field, frame, blocks_y, blocks_x, dx, dy, signal, weight, sum, norm,
                    top_sum, top_norm);
}
