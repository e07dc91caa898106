/* Body of joint_fit.c, compiled once per vector level (levels.h). */
#include "psf_stamp_body.h"

/* Fills canvas (side rows of `stride` floats, zero outside) with w * psi of one star. */
static void AT_LEVEL(weighted_canvas)(const float *restrict stamp, const float *restrict w,
                                      int64_t w_stride, int half, float *restrict canvas,
                                      int64_t stride)
{
    int width = 2 * half + 2, margin = width;
    for (int row = 0; row < width - 1; row++) {
        float *target = canvas + (int64_t)(row + margin) * stride + margin;
        for (int col = 0; col < width; col++) {
            target[col] = stamp[row * width + col] * w[row * w_stride + col];
        }
    }
}

static float AT_LEVEL(stamp_dot)(const float *restrict stamp, int first, int last, int width,
                                 const float *restrict other, int64_t stride)
{
    float acc[LANES];
    LANES_ZERO(acc);
    for (int row = first; row < last; row++) {
        const float *a = stamp + (int64_t)row * width, *b = other + row * stride;
        for (int col = 0; col < width; col += LANES) {
            for (int l = 0; l < LANES; l++) acc[l] = fmaf(a[col + l], b[col + l], acc[l]);
        }
    }
    return LANES_SUM(acc);
}

/* Diagonal, right-hand side and sky couplings of star s; canvas holds w psi. */
static void AT_LEVEL(star_row)(joint_work *k, int64_t s, const float *canvas, int64_t stride,
                               const float *data, const float *basis)
{
    int half = k->half[s], width = 2 * half + 2, rows = width - 1;
    const float *inner = canvas + (int64_t)width * stride + width;
    int64_t at = k->corner[s], plane = k->plane;
    k->diagonal[s] = AT_LEVEL(stamp_dot)(k->stamps + k->offset[s], 0, rows, width, inner, stride);
    for (int term = -1; term < k->n_sky; term++) {
        const float *image = (term < 0 ? data : basis + term * plane) + at;
        float acc[LANES];
        LANES_ZERO(acc);
        for (int row = 0; row < rows; row++) {
            const float *a = inner + row * stride, *b = image + row * k->stride;
            for (int col = 0; col < width; col += LANES) {
                for (int l = 0; l < LANES; l++) acc[l] = fmaf(a[col + l], b[col + l], acc[l]);
            }
        }
        if (term < 0) {
            k->rhs[s] = LANES_SUM(acc);
        } else {
            k->coupling[term * k->n + s] = LANES_SUM(acc);
        }
    }
}

/* Off-diagonal entries between s and every star not larger than it (ties: larger index). */
static int AT_LEVEL(star_pairs)(joint_work *k, int64_t s, const float *canvas, int64_t stride)
{
    int hs = k->half[s], margin = 2 * hs + 2;
    int reach = 2 * hs;
    int64_t cx0 = cell_of(k->ix[s] - reach, k->cells_x), cx1 = cell_of(k->ix[s] + reach, k->cells_x);
    int64_t cy0 = cell_of(k->iy[s] - reach, k->cells_y), cy1 = cell_of(k->iy[s] + reach, k->cells_y);
    for (int64_t cy = cy0; cy <= cy1; cy++) {
        for (int64_t at = k->cell_start[cy * k->cells_x + cx0];
             at < k->cell_start[cy * k->cells_x + cx1 + 1]; at++) {
            int64_t t = k->cell_star[at];
            int ht = k->half[t], dx = k->ix[t] - k->ix[s], dy = k->iy[t] - k->iy[s];
            if (ht > hs || (ht == hs && t <= s)) continue;
            if (abs(dx) > hs + ht || abs(dy) > hs + ht) continue;
            int first = dy - ht < -hs ? -hs - dy + ht : 0;
            int last = dy + ht > hs ? hs - dy + ht + 1 : 2 * ht + 1;
            const float *other = canvas + (int64_t)(margin + hs + dy - ht) * stride + margin + hs + dx - ht;
            float value = AT_LEVEL(stamp_dot)(k->stamps + k->offset[t], first, last, 2 * ht + 2,
                                              other, stride);
            if (value != 0.0f && !pair_push(k, (int32_t)s, (int32_t)t, value)) {
                return ROMAN_ERR_MEMORY;
            }
        }
    }
    return ROMAN_OK;
}

static int AT_LEVEL(build)(joint_work *k, const roman_psf *psf, const double *x, const double *y,
                           const float *data, const float *weight, const float *basis)
{
    AT_LEVEL(psf_stamps)(psf, k->n, x, y, k->half, k->offset, 0, k->stamps);
    int side_max = 3 * (2 * k->max_half + 2);
    float *canvas = malloc((size_t)side_max * side_max * sizeof *canvas);
    if (!canvas) return ROMAN_ERR_MEMORY;
    int status = ROMAN_OK;
    for (int64_t s = 0; s < k->n && status == ROMAN_OK; s++) {
        int64_t stride = 3 * (2 * k->half[s] + 2);
        memset(canvas, 0, (size_t)(stride * stride) * sizeof *canvas);
        AT_LEVEL(weighted_canvas)(k->stamps + k->offset[s], weight + k->corner[s], k->stride,
                                  k->half[s], canvas, stride);
        AT_LEVEL(star_row)(k, s, canvas, stride, data, basis);
        if (k->diagonal[s] > 0) status = AT_LEVEL(star_pairs)(k, s, canvas, stride);
    }
    free(canvas);
    return status;
}

static double AT_LEVEL(dot)(int64_t n, const double *restrict a, const double *restrict b)
{
    double acc[LANES];
    int64_t i = 0;
    LANES_ZERO(acc);
    for (; i + LANES <= n; i += LANES) {
        for (int l = 0; l < LANES; l++) acc[l] = fma(a[i + l], b[i + l], acc[l]);
    }
    for (; i < n; i++) acc[i % LANES] = fma(a[i], b[i], acc[i % LANES]);
    return LANES_SUM(acc);
}

/* out += (A - B C^-1 B^T) v of one image, in scaled units. */
static void AT_LEVEL(apply_one)(const joint_work *k, const double *restrict v, double *restrict out)
{
    double along[ROMAN_MAX_SKY_TERMS], shift[ROMAN_MAX_SKY_TERMS];
    for (int64_t i = 0; i < k->n; i++) {
        double acc[LANES];
        LANES_ZERO(acc);
        for (int64_t at = k->row_start[i]; at < k->row_start[i + 1]; at += LANES) {
            for (int l = 0; l < LANES; l++) {
                acc[l] = fma((double)k->value[at + l], v[k->column[at + l]], acc[l]);
            }
        }
        out[i] = fma(k->diagonal[i], v[i], out[i]) + LANES_SUM(acc);
    }
    for (int t = 0; t < k->n_sky; t++) {
        along[t] = AT_LEVEL(dot)(k->n, k->coupling + t * k->n, v);
    }
    sky_solve(k, along, shift);
    for (int t = 0; t < k->n_sky; t++) {
        const double *b = k->coupling + t * k->n;
        for (int64_t i = 0; i < k->n; i++) out[i] = fma(-shift[t], b[i], out[i]);
    }
}

static void AT_LEVEL(apply)(const joint_work *work, int frames, const double *v, double *out)
{
    memset(out, 0, (size_t)work->n * sizeof *out);
    for (int e = 0; e < frames; e++) AT_LEVEL(apply_one)(work + e, v, out);
}

/* Conjugate gradients on the scaled system; f holds the start and the solution. */
static int AT_LEVEL(solve)(joint_work *work, int frames, double *restrict f,
                           roman_joint_options *options)
{
    int64_t n = work->n;
    double *r = calloc(3 * (size_t)n, sizeof *r);
    if (!r) return ROMAN_ERR_MEMORY;
    double *p = r + n, *q = p + n;
    AT_LEVEL(apply)(work, frames, f, q);
    for (int e = 0; e < frames; e++) {
        for (int64_t i = 0; i < n; i++) r[i] += work[e].rhs[i];
    }
    for (int64_t i = 0; i < n; i++) p[i] = r[i] = r[i] - q[i];
    double rr = AT_LEVEL(dot)(n, r, r), worst = largest(n, r);
    int iteration = 0;
    while (worst > options->tolerance && iteration < options->max_iterations) {
        AT_LEVEL(apply)(work, frames, p, q);
        double pq = AT_LEVEL(dot)(n, p, q);
        if (!(pq > 0)) break;
        double step = rr / pq;
        for (int64_t i = 0; i < n; i++) {
            f[i] = fma(step, p[i], f[i]);
            r[i] = fma(-step, q[i], r[i]);
        }
        double next = AT_LEVEL(dot)(n, r, r), ratio = next / rr;
        for (int64_t i = 0; i < n; i++) p[i] = fma(ratio, p[i], r[i]);
        rr = next;
        worst = largest(n, r);
        iteration++;
    }
    options->iterations = iteration;
    options->worst_gradient = worst;
    free(r);
    return worst <= options->tolerance ? ROMAN_OK : ROMAN_ERR_CONVERGENCE;
}

static void AT_LEVEL(subtract_model)(const joint_work *k, const double *flux, const double *sky,
                                     const float *basis, float *residual)
{
    for (int t = 0; t < k->n_sky; t++) {
        float c = (float)sky[t];
        const float *b = basis + t * k->plane;
        for (int64_t p = 0; p < k->plane; p++) residual[p] = fmaf(-c, b[p], residual[p]);
    }
    for (int64_t s = 0; s < k->n; s++) {
        int width = 2 * k->half[s] + 2;
        float f = (float)flux[s];
        const float *stamp = k->stamps + k->offset[s];
        float *target = residual + k->corner[s];
        for (int row = 0; row < width - 1; row++) {
            for (int col = 0; col < width; col++) {
                target[row * k->stride + col] =
                    fmaf(-f, stamp[row * width + col], target[row * k->stride + col]);
            }
        }
    }
}

static int AT_LEVEL(joint_fit)(joint_work *work, int frames, const roman_psf *psf, const double *x,
                               const double *y, const float *data, const float *weight,
                               const float *basis, double *flux, double *flux_err, float *chi2,
                               double *sky, float *residual, roman_joint_options *options)
{
    int64_t n = work->n, plane = work->plane;
    int m = work->n_sky, status = ROMAN_OK;
    for (int e = 0; e < frames && status == ROMAN_OK; e++) {
        status = AT_LEVEL(build)(work + e, psf, x + e * n, y + e * n, data + e * plane,
                                 weight + e * plane, basis);
    }
    if (status == ROMAN_OK) status = assemble(work, frames, data, weight, basis);
    if (status != ROMAN_OK) return status;
    const double *scale = work->scale;
    for (int64_t s = 0; s < n; s++) flux[s] *= scale[s];
    status = AT_LEVEL(solve)(work, frames, flux, options);
    if (status == ROMAN_ERR_MEMORY) return status;
    for (int e = 0; e < frames; e++) {
        double along[ROMAN_MAX_SKY_TERMS];
        for (int t = 0; t < m; t++) {
            along[t] = work[e].sky_rhs[t] - AT_LEVEL(dot)(n, work[e].coupling + t * n, flux);
        }
        sky_solve(work + e, along, sky + e * m);
    }
    for (int64_t s = 0; s < n; s++) flux[s] = scale[s] > 0 ? flux[s] / scale[s] : 0.0;
    local_errors(work, frames, flux_err);
    memcpy(residual, data, (size_t)(frames * plane) * sizeof *residual);
    for (int e = 0; e < frames; e++) {
        AT_LEVEL(subtract_model)(work + e, flux, sky + e * m, basis, residual + e * plane);
    }
    core_chi2(work, frames, residual, weight, options->core_half, chi2);
    return status;
}
