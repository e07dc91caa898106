#include "psf_stamp.h"

#define KERNEL_BODY "psf_stamp_body.h"
#include "levels.h"

int roman_psf_stamps(const roman_psf *psf, int64_t n, const double *x, const double *y,
                     const int32_t *half, const int64_t *offset, int32_t derivative, float *stamps,
                     int32_t level)
{
    if (n < 0 || derivative < 0 || derivative > 2) return ROMAN_ERR_ARGUMENT;
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
    if (n < 0 || frame->ny < 1 || frame->nx < 1 || frame->pad < 0) return ROMAN_ERR_ARGUMENT;
    for (int64_t s = 0; s < n; s++) {
        splat_one(psf, x[s], y[s], half[s], scale[s], image, (int64_t)frame->nx + 2 * frame->pad,
                  frame->pad, gradient);
    }
    return ROMAN_OK;
}
