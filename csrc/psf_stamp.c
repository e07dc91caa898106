#include "psf_stamp.h"

#define KERNEL_BODY "psf_stamp_body.h"
#include "levels.h"

int roman_stamps_fit(const roman_psf *psf, const roman_frame *frame, int64_t n, const double *x,
                     const double *y, const int32_t *half)
{
    if (n < 0 || psf->oversample < 1 || psf->origin < 0 || psf->origin % psf->oversample ||
        psf->plane_ny < 1 || psf->plane_nx < 1) {
        return 0;
    }
    /* Grid pixels on the sides of the star; the taps reach two beyond the stamp and its last lanes. */
    int32_t before = psf->origin / psf->oversample;
    int32_t after = (psf->plane_nx < psf->plane_ny ? psf->plane_nx : psf->plane_ny) - before;
    if (frame && (frame->ny < 1 || frame->nx < 1 || frame->pad < 0)) return 0;
    for (int64_t s = 0; s < n; s++) {
        double x0 = floor(x[s] + 0.5), y0 = floor(y[s] + 0.5), h = half[s];
        if (half[s] < 3 || half[s] > ROMAN_MAX_HALF || half[s] % 4 != 3) return 0;
        if (half[s] + 2 > before || half[s] + 4 > after) return 0;
        if (!isfinite(x0) || !isfinite(y0)) return 0;
        if (!frame) continue;
        if (!(x0 - h >= -frame->pad && x0 + h + 1 < frame->nx + frame->pad)) return 0;
        if (!(y0 - h >= -frame->pad && y0 + h < frame->ny + frame->pad)) return 0;
    }
    return 1;
}

int roman_psf_stamps(const roman_psf *psf, int64_t n, const double *x, const double *y,
                     const int32_t *half, const int64_t *offset, int32_t derivative, float *stamps,
                     int32_t level)
{
    if (derivative < 0 || derivative > 2 || !roman_stamps_fit(psf, NULL, n, x, y, half)) {
        return ROMAN_ERR_ARGUMENT;
    }
    return DISPATCH(level, psf_stamps, psf, n, x, y, half, offset, derivative, stamps);
}

/* Scatter has no lanes to keep in step, so it has one level. */
static void splat_one(const roman_psf *psf, double x, double y, int half, double scale,
                      const float *image, int64_t stride, int pad, double *gradient)
{
    int os = psf->oversample;
    int64_t plane = (int64_t)psf->plane_ny * psf->plane_nx;
    double tx, ty;
    float wx[4], wy[4];
    int64_t gx = first_tap_baseline(psf, x, &tx), gy = first_tap_baseline(psf, y, &ty);
    spline_weights_baseline(tx, 0, 0.0, wx);
    spline_weights_baseline(ty, 0, 0.0, wy);
    int64_t x0 = (int64_t)floor(x + 0.5) + pad - half, y0 = (int64_t)floor(y + 0.5) + pad - half;
    for (int ky = 0; ky < 4; ky++) {
        for (int kx = 0; kx < 4; kx++) {
            int64_t iy = gy + ky, ix = gx + kx;
            double w = scale * wy[ky] * wx[kx];
            double *target = gradient + ((iy % os) * os + ix % os) * plane +
                             (iy / os - half) * psf->plane_nx + ix / os - half;
            for (int row = 0; row < 2 * half + 1; row++) {
                const float *src = image + (y0 + row) * stride + x0;
                double *dst = target + (int64_t)row * psf->plane_nx;
                for (int col = 0; col < 2 * half + 1; col++) dst[col] += w * src[col];
            }
        }
    }
}

int roman_psf_splat(const roman_psf *psf, const roman_frame *frame, int64_t n, const double *x,
                    const double *y, const int32_t *half, const double *scale, const float *image,
                    double *gradient)
{
    if (!roman_stamps_fit(psf, frame, n, x, y, half)) return ROMAN_ERR_ARGUMENT;
    for (int64_t s = 0; s < n; s++) {
        splat_one(psf, x[s], y[s], half[s], scale[s], image, (int64_t)frame->nx + 2 * frame->pad,
                  frame->pad, gradient);
    }
    return ROMAN_OK;
}
