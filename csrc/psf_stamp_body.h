/* Body of psf_stamp.c, compiled once per vector level (levels.h). */

/* Cubic B-spline weights (or their derivative) of the four taps at fraction t. */
static void AT_LEVEL(spline_weights)(double t, int derivative, double scale, float *w)
{
    double s = 1.0 - t;
    if (derivative) {
        w[0] = (float)(-0.5 * s * s * scale);
        w[1] = (float)((1.5 * t - 2.0) * t * scale);
        w[2] = (float)((2.0 - 1.5 * s) * s * scale);
        w[3] = (float)(0.5 * t * t * scale);
    } else {
        w[0] = (float)(s * s * s / 6.0);
        w[1] = (float)(2.0 / 3.0 - 0.5 * t * t * (2.0 - t));
        w[2] = (float)(2.0 / 3.0 - 0.5 * s * s * (2.0 - s));
        w[3] = (float)(t * t * t / 6.0);
    }
}

/* First tap and fraction of a coordinate: the pixel nearest to the star is offset 0. */
static int64_t AT_LEVEL(first_tap)(const roman_psf *psf, double star, double *t)
{
    double u = (floor(star + 0.5) - star) * psf->oversample + psf->origin;
    double base = floor(u);
    *t = u - base;
    return (int64_t)base - 1;
}

static void AT_LEVEL(one_stamp)(const roman_psf *psf, double x, double y, int half, int derivative,
                                float *restrict out)
{
    int os = psf->oversample, width = 2 * half + 2, rows = 2 * half + 1;
    int64_t plane = (int64_t)psf->plane_ny * psf->plane_nx;
    double tx, ty;
    float wx[4], wy[4];
    int64_t gx = AT_LEVEL(first_tap)(psf, x, &tx), gy = AT_LEVEL(first_tap)(psf, y, &ty);
    /* d/dx_star = -d/dx, and the grid runs `oversample` times faster than the pixels. */
    AT_LEVEL(spline_weights)(tx, derivative == 1, -(double)os, wx);
    AT_LEVEL(spline_weights)(ty, derivative == 2, -(double)os, wy);
    const float *source[16];
    float weight[16];
    for (int ky = 0; ky < 4; ky++) {
        for (int kx = 0; kx < 4; kx++) {
            int64_t iy = gy + ky, ix = gx + kx;
            source[4 * ky + kx] = psf->coef + ((iy % os) * os + ix % os) * plane +
                                  (iy / os - half) * psf->plane_nx + ix / os - half;
            weight[4 * ky + kx] = wy[ky] * wx[kx];
        }
    }
    for (int row = 0; row < rows; row++) {
        for (int group = 0; group < width; group += LANES) {
            float acc[LANES];
            LANES_ZERO(acc);
            for (int k = 0; k < 16; k++) {
                const float *src = source[k] + (int64_t)row * psf->plane_nx + group;
                float w = weight[k];
                for (int l = 0; l < LANES; l++) acc[l] = fmaf(w, src[l], acc[l]);
            }
            memcpy(out + (int64_t)row * width + group, acc, sizeof acc);
        }
        out[(int64_t)row * width + width - 1] = 0.0f;
    }
}

static int AT_LEVEL(psf_stamps)(const roman_psf *psf, int64_t n, const double *x, const double *y,
                                const int32_t *half, const int64_t *offset, int derivative,
                                float *stamps)
{
    for (int64_t s = 0; s < n; s++) {
        AT_LEVEL(one_stamp)(psf, x[s], y[s], half[s], derivative, stamps + offset[s]);
    }
    return ROMAN_OK;
}
