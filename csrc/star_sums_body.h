/* Body of star_sums.c, compiled once per vector level (levels.h). */
#include "psf_stamp_body.h"

#ifndef STAMP_FLOATS
#define STAMP_FLOATS(half) ((2 * (half) + 1) * (2 * (half) + 2))
#endif

static int64_t AT_LEVEL(corner)(const roman_frame *frame, double x, double y, int half)
{
    int64_t stride = (int64_t)frame->nx + 2 * frame->pad;
    return ((int64_t)floor(y + 0.5) + frame->pad - half) * stride + (int64_t)floor(x + 0.5) +
           frame->pad - half;
}

static int AT_LEVEL(render)(const roman_psf *psf, const roman_frame *frame, int64_t n,
                            const double *x, const double *y, const int32_t *half,
                            const double *flux, float *image)
{
    int64_t stride = (int64_t)frame->nx + 2 * frame->pad;
    float *stamp = malloc(STAMP_FLOATS(ROMAN_MAX_HALF) * sizeof *stamp);
    if (!stamp) return ROMAN_ERR_MEMORY;
    for (int64_t s = 0; s < n; s++) {
        int width = 2 * half[s] + 2;
        float f = (float)flux[s];
        float *target = image + AT_LEVEL(corner)(frame, x[s], y[s], half[s]);
        AT_LEVEL(one_stamp)(psf, x[s], y[s], half[s], 0, stamp);
        for (int row = 0; row < width - 1; row++) {
            for (int col = 0; col < width; col++) {
                target[row * stride + col] =
                    fmaf(f, stamp[row * width + col], target[row * stride + col]);
            }
        }
    }
    free(stamp);
    return ROMAN_OK;
}

static int AT_LEVEL(matched_sums)(const roman_psf *psf, const roman_frame *frame, int64_t n,
                                  const double *x, const double *y, const int32_t *half,
                                  const float *image, const float *weight, double *sums)
{
    int64_t stride = (int64_t)frame->nx + 2 * frame->pad;
    float *stamp = malloc(STAMP_FLOATS(ROMAN_MAX_HALF) * sizeof *stamp);
    if (!stamp) return ROMAN_ERR_MEMORY;
    for (int64_t s = 0; s < n; s++) {
        int width = 2 * half[s] + 2;
        int64_t at = AT_LEVEL(corner)(frame, x[s], y[s], half[s]);
        float signal[LANES], norm[LANES];
        LANES_ZERO(signal);
        LANES_ZERO(norm);
        AT_LEVEL(one_stamp)(psf, x[s], y[s], half[s], 0, stamp);
        for (int row = 0; row < width - 1; row++) {
            const float *r = image + at + row * stride, *w = weight + at + row * stride;
            const float *p = stamp + row * width;
            for (int col = 0; col < width; col += LANES) {
                for (int l = 0; l < LANES; l++) {
                    float wp = w[col + l] * p[col + l];
                    signal[l] = fmaf(wp, r[col + l], signal[l]);
                    norm[l] = fmaf(wp, p[col + l], norm[l]);
                }
            }
        }
        sums[2 * s] = LANES_SUM(signal);
        sums[2 * s + 1] = LANES_SUM(norm);
    }
    free(stamp);
    return ROMAN_OK;
}

static int AT_LEVEL(position_sums)(const roman_psf *psf, const roman_frame *frame, int64_t n,
                                   const double *x, const double *y, const int32_t *half,
                                   const float *image, const float *weight, double *sums)
{
    int64_t stride = (int64_t)frame->nx + 2 * frame->pad;
    int64_t size = STAMP_FLOATS(ROMAN_MAX_HALF);
    float *stamp = malloc(3 * size * sizeof *stamp);
    if (!stamp) return ROMAN_ERR_MEMORY;
    for (int64_t s = 0; s < n; s++) {
        int width = 2 * half[s] + 2;
        int64_t at = AT_LEVEL(corner)(frame, x[s], y[s], half[s]);
        float acc[9][LANES];
        for (int k = 0; k < 9; k++) LANES_ZERO(acc[k]);
        for (int d = 0; d < 3; d++) {
            AT_LEVEL(one_stamp)(psf, x[s], y[s], half[s], d, stamp + d * size);
        }
        for (int row = 0; row < width - 1; row++) {
            const float *r = image + at + row * stride, *w = weight + at + row * stride;
            const float *p = stamp + row * width, *px = p + size, *py = px + size;
            for (int col = 0; col < width; col += LANES) {
                for (int l = 0; l < LANES; l++) {
                    int c = col + l;
                    float wp = w[c] * p[c], wx = w[c] * px[c], wy = w[c] * py[c];
                    acc[0][l] = fmaf(wp, r[c], acc[0][l]);
                    acc[1][l] = fmaf(wx, r[c], acc[1][l]);
                    acc[2][l] = fmaf(wy, r[c], acc[2][l]);
                    acc[3][l] = fmaf(wp, p[c], acc[3][l]);
                    acc[4][l] = fmaf(wp, px[c], acc[4][l]);
                    acc[5][l] = fmaf(wp, py[c], acc[5][l]);
                    acc[6][l] = fmaf(wx, px[c], acc[6][l]);
                    acc[7][l] = fmaf(wx, py[c], acc[7][l]);
                    acc[8][l] = fmaf(wy, py[c], acc[8][l]);
                }
            }
        }
        for (int k = 0; k < 9; k++) sums[9 * s + k] = LANES_SUM(acc[k]);
    }
    free(stamp);
    return ROMAN_OK;
}
