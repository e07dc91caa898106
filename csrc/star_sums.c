#include "star_sums.h"

#define KERNEL_BODY "star_sums_body.h"
#include "levels.h"

/* A stamp must lie inside the padded image, whatever the star's position. */
static int stars_fit(const roman_frame *frame, int64_t n, const double *x, const double *y,
                     const int32_t *half)
{
    if (n < 0 || frame->ny < 1 || frame->nx < 1 || frame->pad < 0) return 0;
    for (int64_t s = 0; s < n; s++) {
        double x0 = floor(x[s] + 0.5), y0 = floor(y[s] + 0.5), h = half[s];
        if (half[s] < 3 || half[s] > STAR_SUMS_MAX_HALF || half[s] % 4 != 3) return 0;
        if (!(x0 - h >= -frame->pad && x0 + h + 1 < frame->nx + frame->pad)) return 0;
        if (!(y0 - h >= -frame->pad && y0 + h < frame->ny + frame->pad)) return 0;
    }
    return 1;
}

int roman_render(const roman_psf *psf, const roman_frame *frame, int64_t n, const double *x,
                 const double *y, const int32_t *half, const double *flux, float *image,
                 int32_t level)
{
    if (!stars_fit(frame, n, x, y, half)) return ROMAN_ERR_ARGUMENT;
    return DISPATCH(level, render, psf, frame, n, x, y, half, flux, image);
}

int roman_matched_sums(const roman_psf *psf, const roman_frame *frame, int64_t n, const double *x,
                       const double *y, const int32_t *half, const float *image,
                       const float *weight, double *sums, int32_t level)
{
    if (!stars_fit(frame, n, x, y, half)) return ROMAN_ERR_ARGUMENT;
    return DISPATCH(level, matched_sums, psf, frame, n, x, y, half, image, weight, sums);
}

int roman_position_sums(const roman_psf *psf, const roman_frame *frame, int64_t n, const double *x,
                        const double *y, const int32_t *half, const float *image,
                        const float *weight, double *sums, int32_t level)
{
    if (!stars_fit(frame, n, x, y, half)) return ROMAN_ERR_ARGUMENT;
    return DISPATCH(level, position_sums, psf, frame, n, x, y, half, image, weight, sums);
}
