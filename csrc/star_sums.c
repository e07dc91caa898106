#include "star_sums.h"

#define KERNEL_BODY "star_sums_body.h"
#include "levels.h"

int roman_render(const roman_psf *psf, const roman_frame *frame, int64_t n, const double *x,
                 const double *y, const int32_t *half, const double *flux, float *image,
                 int32_t level)
{
    if (!roman_stamps_fit(psf, frame, n, x, y, half)) return ROMAN_ERR_ARGUMENT;
    return DISPATCH(level, render, psf, frame, n, x, y, half, flux, image);
}

int roman_matched_sums(const roman_psf *psf, const roman_frame *frame, int64_t n, const double *x,
                       const double *y, const int32_t *half, const float *image,
                       const float *weight, double *sums, int32_t level)
{
    if (!roman_stamps_fit(psf, frame, n, x, y, half)) return ROMAN_ERR_ARGUMENT;
    return DISPATCH(level, matched_sums, psf, frame, n, x, y, half, image, weight, sums);
}

int roman_position_sums(const roman_psf *psf, const roman_frame *frame, int64_t n, const double *x,
                        const double *y, const int32_t *half, const float *image,
                        const float *weight, double *sums, int32_t level)
{
    if (!roman_stamps_fit(psf, frame, n, x, y, half)) return ROMAN_ERR_ARGUMENT;
    return DISPATCH(level, position_sums, psf, frame, n, x, y, half, image, weight, sums);
}
