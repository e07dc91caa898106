#include "joint_fit.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "cholesky.h"
#include "lanes.h"
#include "local_error.h"
#include "roman_status.h"

#define CELL 8             /* side of the cells that find neighbours [px] */
#define ERROR_NEIGHBOURS 10 /* strongest neighbours in a star's local covariance */

typedef struct {
    int64_t n;
    int n_sky, max_half;
    int64_t stride, plane; /* of the padded image [floats] */
    const int32_t *half;
    int32_t *ix, *iy;      /* nearest pixel, in the padded image */
    int64_t *corner;       /* first pixel of the stamp, in the padded image */
    int64_t *offset;       /* of the stamp in `stamps` */
    float *stamps;
    int64_t cells_x, cells_y, *cell_start, *cell_star;
    double *diagonal, *rhs;
    double *scale;         /* sqrt of the diagonal summed over images; all images share it */
    double *coupling;      /* [n_sky][n] stars to sky terms */
    double sky_matrix[ROMAN_MAX_SKY_TERMS * ROMAN_MAX_SKY_TERMS]; /* Cholesky factor */
    double sky_rhs[ROMAN_MAX_SKY_TERMS];
    int64_t pairs, pair_capacity;
    int32_t *pair_a, *pair_b;
    float *pair_value;
    int64_t *row_start;    /* rows padded to whole groups of LANES */
    int32_t *column;
    float *value;
} joint_work;

static int64_t cell_of(int64_t pixel, int64_t cells)
{
    int64_t c = pixel < 0 ? 0 : pixel / CELL;
    return c < cells ? c : cells - 1;
}

static int pair_push(joint_work *k, int32_t a, int32_t b, float value)
{
    if (k->pairs == k->pair_capacity) {
        int64_t capacity = 2 * k->pair_capacity;
        int32_t *na = realloc(k->pair_a, (size_t)capacity * sizeof *na);
        if (na) k->pair_a = na;
        int32_t *nb = realloc(k->pair_b, (size_t)capacity * sizeof *nb);
        if (nb) k->pair_b = nb;
        float *nv = realloc(k->pair_value, (size_t)capacity * sizeof *nv);
        if (nv) k->pair_value = nv;
        if (!na || !nb || !nv) return 0;
        k->pair_capacity = capacity;
    }
    k->pair_a[k->pairs] = a;
    k->pair_b[k->pairs] = b;
    k->pair_value[k->pairs++] = value;
    return 1;
}

static double largest(int64_t n, const double *v)
{
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double a = fabs(v[i]);
        if (a > worst) worst = a;
    }
    return worst;
}

static const cholesky_rule SKY_RULE = {.least = 1e-12, .relative = 1};

/* Solves C s = r with the Cholesky factor of the sky block. */
static void sky_solve(const joint_work *k, const double *r, double *s)
{
    for (int i = 0; i < k->n_sky; i++) s[i] = r[i];
    cholesky_solve(SKY_RULE, k->n_sky, k->n_sky, k->sky_matrix, s);
}

static int sky_block(joint_work *k, const float *data, const float *weight, const float *basis)
{
    int m = k->n_sky;
    double *C = k->sky_matrix;
    memset(C, 0, sizeof k->sky_matrix);
    memset(k->sky_rhs, 0, sizeof k->sky_rhs);
    for (int64_t p = 0; p < k->plane; p++) {
        double w = weight[p];
        if (w == 0) continue;
        for (int i = 0; i < m; i++) {
            double wt = w * basis[i * k->plane + p];
            k->sky_rhs[i] += wt * data[p];
            for (int j = 0; j <= i; j++) C[i * m + j] += wt * basis[j * k->plane + p];
        }
    }
    return cholesky_factor(SKY_RULE, m, m, C) ? ROMAN_OK : ROMAN_ERR_SINGULAR;
}

/* Symmetric rows of the scaled matrix from the list of pairs, each row padded with zeros. */
static int symmetric_rows(joint_work *k)
{
    int64_t n = k->n;
    int64_t *cursor = calloc((size_t)n + 1, sizeof *cursor);
    k->row_start = malloc(((size_t)n + 1) * sizeof *k->row_start);
    if (!cursor || !k->row_start) {
        free(cursor);
        return ROMAN_ERR_MEMORY;
    }
    for (int64_t e = 0; e < k->pairs; e++) {
        cursor[k->pair_a[e]]++;
        cursor[k->pair_b[e]]++;
    }
    k->row_start[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        k->row_start[i + 1] = k->row_start[i] + (cursor[i] + LANES - 1) / LANES * LANES;
        cursor[i] = k->row_start[i];
    }
    size_t total = (size_t)k->row_start[n] + 1;
    k->column = calloc(total, sizeof *k->column);
    k->value = calloc(total, sizeof *k->value);
    if (!k->column || !k->value) {
        free(cursor);
        return ROMAN_ERR_MEMORY;
    }
    for (int64_t e = 0; e < k->pairs; e++) {
        int32_t a = k->pair_a[e], b = k->pair_b[e];
        if (k->scale[a] == 0 || k->scale[b] == 0) continue;
        float v = (float)(k->pair_value[e] / (k->scale[a] * k->scale[b]));
        k->column[cursor[a]] = b;
        k->value[cursor[a]++] = v;
        k->column[cursor[b]] = a;
        k->value[cursor[b]++] = v;
    }
    free(cursor);
    return ROMAN_OK;
}

/* Scales the system by the diagonal summed over images and eliminates each image's sky. */
static int assemble(joint_work *work, int frames, const float *data, const float *weight,
                    const float *basis)
{
    int64_t n = work->n;
    double *scale = work->scale;
    for (int64_t s = 0; s < n; s++) {
        double sum = 0;
        for (int e = 0; e < frames; e++) sum += work[e].diagonal[s];
        scale[s] = sqrt(sum);
    }
    for (int e = 0; e < frames; e++) {
        joint_work *k = work + e;
        int64_t plane = k->plane;
        int status = sky_block(k, data + e * plane, weight + e * plane, basis);
        if (status != ROMAN_OK) return status;
        for (int64_t s = 0; s < n; s++) {
            double inverse = scale[s] > 0 ? 1 / scale[s] : 0;
            k->rhs[s] *= inverse;
            k->diagonal[s] *= inverse * inverse;
            for (int t = 0; t < k->n_sky; t++) k->coupling[t * n + s] *= inverse;
        }
        double shift[ROMAN_MAX_SKY_TERMS];
        sky_solve(k, k->sky_rhs, shift);
        for (int t = 0; t < k->n_sky; t++) {
            for (int64_t s = 0; s < n; s++) k->rhs[s] -= shift[t] * k->coupling[t * n + s];
        }
        status = symmetric_rows(k);
        if (status != ROMAN_OK) return status;
    }
    return ROMAN_OK;
}

static double entry(const joint_work *work, int frames, int32_t i, int32_t j)
{
    double sum = 0;
    for (int e = 0; e < frames; e++) {
        const joint_work *k = work + e;
        for (int64_t at = k->row_start[i]; at < k->row_start[i + 1]; at++) {
            if (k->column[at] == j) sum += k->value[at];
        }
    }
    return sum;
}

/* Variance of star i in the block of its strongest neighbours, in units of 1 / diagonal. */
static double local_variance(const joint_work *work, int frames, int32_t i)
{
    /* Who the neighbours are is taken from the first image; all images see the same sky. */
    const joint_work *k = work;
    int32_t who[ERROR_NEIGHBOURS];
    double with[ERROR_NEIGHBOURS], block[ERROR_NEIGHBOURS * ERROR_NEIGHBOURS];
    int m = 0;
    for (int64_t at = k->row_start[i]; at < k->row_start[i + 1]; at++) {
        double v = k->value[at];
        if (fabs(v) * frames >= 0.02) m = keep_strongest(ERROR_NEIGHBOURS, m, k->column[at], v, who, with);
    }
    for (int r = 0; r < m; r++) {
        for (int c = 0; c <= r; c++) {
            block[r * ERROR_NEIGHBOURS + c] = r == c ? 1.0 + 1e-6 : entry(work, frames, who[r], who[c]);
        }
        if (frames > 1) with[r] = entry(work, frames, i, who[r]);
    }
    return variance_among(m, ERROR_NEIGHBOURS, block, with);
}

static void local_errors(const joint_work *work, int frames, double *flux_err)
{
    for (int64_t s = 0; s < work->n; s++) {
        flux_err[s] = work->scale[s] > 0
                          ? sqrt(local_variance(work, frames, (int32_t)s)) / work->scale[s]
                          : INFINITY;
    }
}

static void core_chi2(const joint_work *work, int frames, const float *residual,
                      const float *weight, int core, float *chi2)
{
    for (int64_t s = 0; s < work->n; s++) {
        double sum = 0;
        int used = 0;
        for (int e = 0; e < frames; e++) {
            const joint_work *k = work + e;
            int64_t centre = e * k->plane + k->iy[s] * k->stride + k->ix[s];
            for (int row = -core; row <= core; row++) {
                for (int col = -core; col <= core; col++) {
                    int64_t p = centre + row * k->stride + col;
                    double w = weight[p];
                    used += w > 0;
                    sum += w * residual[p] * residual[p];
                }
            }
        }
        chi2[s] = used ? (float)(sum / used) : NAN;
    }
}

#define KERNEL_BODY "joint_fit_body.h"
#include "levels.h"

static int setup_cells(joint_work *k, const roman_frame *frame)
{
    k->cells_x = (frame->nx + 2 * frame->pad) / CELL + 1;
    k->cells_y = (frame->ny + 2 * frame->pad) / CELL + 1;
    k->cell_start = calloc((size_t)(k->cells_x * k->cells_y) + 2, sizeof *k->cell_start);
    k->cell_star = malloc((size_t)(k->n + 1) * sizeof *k->cell_star);
    if (!k->cell_start || !k->cell_star) return ROMAN_ERR_MEMORY;
    /* Counting sort: counts two places ahead, then the first pass of filling moves each end one back. */
    int64_t cells = k->cells_x * k->cells_y;
    for (int64_t s = 0; s < k->n; s++) {
        int64_t c = cell_of(k->iy[s], k->cells_y) * k->cells_x + cell_of(k->ix[s], k->cells_x);
        k->cell_start[c + 2]++;
    }
    for (int64_t c = 2; c < cells + 2; c++) k->cell_start[c] += k->cell_start[c - 1];
    for (int64_t s = 0; s < k->n; s++) {
        int64_t c = cell_of(k->iy[s], k->cells_y) * k->cells_x + cell_of(k->ix[s], k->cells_x);
        k->cell_star[k->cell_start[c + 1]++] = s;
    }
    return ROMAN_OK;
}

static int setup(joint_work *k, const roman_frame *frame, const double *x, const double *y,
                 const int32_t *half, int n_sky)
{
    int64_t n = k->n, floats = 0;
    size_t rows = (size_t)n + 1;
    k->half = half;
    k->n_sky = n_sky;
    k->stride = (int64_t)frame->nx + 2 * frame->pad;
    k->plane = k->stride * (frame->ny + 2 * (int64_t)frame->pad);
    k->ix = malloc(rows * sizeof *k->ix);
    k->iy = malloc(rows * sizeof *k->iy);
    k->corner = malloc(rows * sizeof *k->corner);
    k->offset = malloc(rows * sizeof *k->offset);
    k->diagonal = calloc(rows, sizeof *k->diagonal);
    k->rhs = calloc(rows, sizeof *k->rhs);
    k->coupling = calloc(rows * (size_t)(n_sky + 1), sizeof *k->coupling);
    if (!k->ix || !k->iy || !k->corner || !k->offset || !k->diagonal || !k->rhs || !k->coupling) {
        return ROMAN_ERR_MEMORY;
    }
    for (int64_t s = 0; s < n; s++) {
        k->ix[s] = (int32_t)floor(x[s] + 0.5) + frame->pad;
        k->iy[s] = (int32_t)floor(y[s] + 0.5) + frame->pad;
        k->corner[s] = (k->iy[s] - half[s]) * k->stride + k->ix[s] - half[s];
        k->offset[s] = floats;
        floats += (int64_t)(2 * half[s] + 1) * (2 * half[s] + 2);
        if (half[s] > k->max_half) k->max_half = half[s];
    }
    k->stamps = malloc((size_t)(floats + LANES) * sizeof *k->stamps);
    k->pair_capacity = 16 * n + 64;
    k->pair_a = malloc((size_t)k->pair_capacity * sizeof *k->pair_a);
    k->pair_b = malloc((size_t)k->pair_capacity * sizeof *k->pair_b);
    k->pair_value = malloc((size_t)k->pair_capacity * sizeof *k->pair_value);
    if (!k->stamps || !k->pair_a || !k->pair_b || !k->pair_value) return ROMAN_ERR_MEMORY;
    return setup_cells(k, frame);
}

static void release(joint_work *k)
{
    free(k->ix);
    free(k->iy);
    free(k->corner);
    free(k->offset);
    free(k->stamps);
    free(k->cell_start);
    free(k->cell_star);
    free(k->diagonal);
    free(k->rhs);
    free(k->coupling);
    free(k->pair_a);
    free(k->pair_b);
    free(k->pair_value);
    free(k->row_start);
    free(k->column);
    free(k->value);
}

int roman_joint_fit(const roman_psf *psf, const roman_frame *frame, int32_t n_frames, int64_t n,
                    const double *x, const double *y, const int32_t *half, const float *data,
                    const float *weight, const float *basis, double *flux, double *flux_err,
                    float *chi2, double *sky, float *residual, roman_joint_options *options,
                    int32_t level)
{
    if (n < 1 || n > INT32_MAX || n_frames < 1 || frame->ny < 1 || frame->nx < 1 ||
        frame->pad < 8 || options->n_sky < 0 || options->n_sky > ROMAN_MAX_SKY_TERMS ||
        options->core_half < 0 || options->core_half > 3 || !(options->tolerance > 0)) {
        return ROMAN_ERR_ARGUMENT;
    }
    joint_work *work = calloc((size_t)n_frames, sizeof *work);
    double *scale = calloc((size_t)n, sizeof *scale);
    int status = work && scale ? ROMAN_OK : ROMAN_ERR_MEMORY;
    for (int e = 0; e < n_frames && status == ROMAN_OK; e++) {
        work[e].n = n;
        work[e].scale = scale;
        status = roman_stamps_fit(psf, frame, n, x + e * n, y + e * n, half)
                     ? setup(work + e, frame, x + e * n, y + e * n, half, options->n_sky)
                     : ROMAN_ERR_ARGUMENT;
    }
    if (status == ROMAN_OK) {
        status = DISPATCH(level, joint_fit, work, n_frames, psf, x, y, data, weight, basis, flux,
                          flux_err, chi2, sky, residual, options);
        options->matrix_entries = 2 * work->pairs;
    }
    for (int e = 0; work && e < n_frames; e++) release(work + e);
    free(work);
    free(scale);
    return status;
}
