#define _DEFAULT_SOURCE /* madvise */
#include "exposure_fit.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#endif

#include "lanes.h"
#include "parallel.h"
#include "roman_status.h"

#define CELL 8       /* side of the cells that order stars and find neighbours [px] */
#define CORE 3       /* half size of the cores that the approximate matrix is made of: a row is LANES floats */
/* Nearly where cores meet, and the sky meets the cores only: the approximate matrix is that of stars without
 * wings, positive definite however dense they are. */
#define REACH (2 * CORE - 1)
#define CORE_FLOATS ((2 * CORE + 1) * LANES)
#define BLOCK 2048   /* stars, and BAND rows: pieces that threads share */
#define BAND 64
#define PARTIALS 48  /* sums of a piece: more than the sky's matrix and right-hand side */
#define NEIGHBOURS 6 /* strongest neighbours in a star's error */
#define LEAST_DAMPING 0.05 /* of a step; after a good one the next is LENGTHENED */
#define LENGTHENED 1.5

typedef struct {
    int64_t n, blocks, bands, rows, stride, plane, pad;
    int n_sky, max_half, want_sky_matrix;
    const roman_psf_field *field;
    const float *weight, *basis;
    float *residual;
    int64_t *order; /* input index of each star, stars being sorted by cell */
    double *x, *y, *expected, *deviation; /* deviation: (flux - expected) in the star's own sigma */
    int32_t *half, *ix, *iy;
    int64_t *corner, *offset, *cell_start, cells_x, cells_y;
    float *stamps, *cores;
    float *inverse, *lambda, *diagonal, *coupling; /* 1 / sqrt(sum w psi^2); prior; approximate; sum w psi T_k scaled */
    int64_t *row_start;
    int32_t *column;
    float *value;
    float *pull, *change, *d, *r, *p, *q;
    double *partial, step, shift[ROMAN_MAX_SKY], sky_step[ROMAN_MAX_SKY];
    double factor[ROMAN_MAX_SKY * ROMAN_MAX_SKY], sky_pull[ROMAN_MAX_SKY]; /* Cholesky; sum w T_k r */
    double strength, spread, damping;
    int64_t bytes;
} exposure_work;

typedef struct {
    void (*prepare)(void *, int64_t), (*matrix)(void *, int64_t), (*subtract)(void *, int64_t),
        (*sky)(void *, int64_t), (*gradient)(void *, int64_t), (*apply)(void *, int64_t),
        (*step)(void *, int64_t), (*direction)(void *, int64_t);
} exposure_pieces;

static int64_t block_end(const exposure_work *k, int64_t block)
{
    return (block + 1) * BLOCK < k->n ? (block + 1) * BLOCK : k->n;
}

static int64_t clip(int64_t v, int64_t most) { return v < 0 ? 0 : v > most ? most : v; }

/* First star of the row of cells that holds a row of pixels, n beyond the last. */
static int64_t first_star(const exposure_work *k, int64_t row)
{
    return row >= k->rows ? k->n : k->cell_start[clip(row / CELL, k->cells_y - 1) * k->cells_x];
}

static int is_outside(const exposure_work *k, int64_t s)
{
    return k->ix[s] < k->pad || k->iy[s] < k->pad || k->ix[s] >= k->stride - k->pad || k->iy[s] >= k->rows - k->pad;
}

/* From sum w psi^2 over the stamp, and sum w psi and sum w psi^2 over the core. */
static void set_star(exposure_work *k, int64_t s, float norm, const float *core)
{
    /* Beyond the edge only wings are seen, which look alike for all stars there: those keep the catalogue's flux. */
    int frozen = !(norm > 0) || (is_outside(k, s) && core[1] < 0.5f * norm);
    float scale = frozen ? 0.0f : sqrtf(norm);
    k->inverse[s] = frozen ? 0.0f : 1.0f / scale;
    /* Of a star whose core is masked the approximate matrix sees little: shorter steps keep it stable. */
    k->diagonal[s] = frozen ? 1.0f : 2.0f - core[1] / norm;
    double relative = k->spread * k->expected[s] * scale;
    k->lambda[s] = (float)(k->strength / (1.0 + relative * relative));
    int64_t centre = k->iy[s] * k->stride + k->ix[s];
    for (int t = 0; t < k->n_sky; t++) {
        k->coupling[t * k->n + s] = core[0] * k->inverse[s] * k->basis[t * k->plane + centre];
    }
}

#define KERNEL_BODY "exposure_fit_body.h"
#include "levels.h"

/* --- setting up ------------------------------------------------------------------------------- */

/* Memory set to zero, in large pages where there is much of it: a detector's stamps take over a gigabyte, and
 * touching them in small pages costs as much as the fit. */
static void *take(exposure_work *k, int64_t count, size_t size)
{
    size_t bytes = ((size_t)count + LANES) * size, page = (size_t)1 << 21;
    k->bytes += (int64_t)bytes;
    if (bytes < 4 * page) return calloc(1, bytes);
    bytes = (bytes + page - 1) / page * page;
    void *memory = aligned_alloc(page, bytes);
    if (!memory) return NULL;
#ifdef MADV_HUGEPAGE
    madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return memset(memory, 0, bytes);
}

static int64_t cell_index(const exposure_work *k, int64_t ix, int64_t iy)
{
    return clip(iy / CELL, k->cells_y - 1) * k->cells_x + clip(ix / CELL, k->cells_x - 1);
}

/* Stars in the order of their cells: what lies together on the sky lies together in memory. */
static int sort_stars(exposure_work *k, const roman_frame *frame, const double *x, const double *y)
{
    int64_t cells = k->cells_x * k->cells_y;
    int64_t *cell = malloc((size_t)k->n * sizeof *cell);
    if (!cell) return ROMAN_ERR_MEMORY;
    for (int64_t i = 0; i < k->n; i++) {
        cell[i] = cell_index(k, (int64_t)floor(x[i] + 0.5) + frame->pad, (int64_t)floor(y[i] + 0.5) + frame->pad);
        k->cell_start[cell[i] + 2]++;
    }
    for (int64_t c = 2; c < cells + 2; c++) k->cell_start[c] += k->cell_start[c - 1];
    for (int64_t i = 0; i < k->n; i++) k->order[k->cell_start[cell[i] + 1]++] = i;
    free(cell);
    return ROMAN_OK;
}

static int place_stars(exposure_work *k, const roman_frame *frame, const double *x, const double *y,
                       const int32_t *half, const double *expected)
{
    int64_t floats = 0;
    for (int64_t s = 0; s < k->n; s++) {
        int64_t i = k->order[s];
        k->x[s] = x[i];
        k->y[s] = y[i];
        k->half[s] = half[i];
        k->expected[s] = expected[i];
        k->ix[s] = (int32_t)floor(x[i] + 0.5) + frame->pad;
        k->iy[s] = (int32_t)floor(y[i] + 0.5) + frame->pad;
        k->corner[s] = (k->iy[s] - half[i]) * k->stride + k->ix[s] - half[i];
        k->offset[s] = floats;
        floats += (int64_t)(2 * half[i] + 1) * (2 * half[i] + 2);
        if (half[i] > k->max_half) k->max_half = half[i];
    }
    k->stamps = take(k, floats, sizeof *k->stamps);
    k->cores = take(k, k->n * CORE_FLOATS, sizeof *k->cores);
    return k->stamps && k->cores ? ROMAN_OK : ROMAN_ERR_MEMORY;
}

/* Visits the neighbours of star s; writes them where `column` is given. Returns how many. */
static int64_t neighbours(const exposure_work *k, int64_t s, int32_t *column)
{
    int64_t count = 0, x0 = clip((k->ix[s] - REACH) / CELL, k->cells_x - 1);
    int64_t x1 = clip((k->ix[s] + REACH) / CELL, k->cells_x - 1);
    int64_t y0 = clip((k->iy[s] - REACH) / CELL, k->cells_y - 1);
    int64_t y1 = clip((k->iy[s] + REACH) / CELL, k->cells_y - 1);
    for (int64_t cy = y0; cy <= y1; cy++) {
        for (int64_t t = k->cell_start[cy * k->cells_x + x0]; t < k->cell_start[cy * k->cells_x + x1 + 1]; t++) {
            int near = abs(k->ix[t] - k->ix[s]) <= REACH && abs(k->iy[t] - k->iy[s]) <= REACH && t != s;
            if (near && column) column[count] = (int32_t)t;
            count += near;
        }
    }
    return count;
}

static void row_block(void *context, int64_t block)
{
    exposure_work *k = context;
    for (int64_t s = block * BLOCK; s < block_end(k, block); s++) {
        if (!k->column) {
            k->row_start[s + 1] = (neighbours(k, s, NULL) + LANES - 1) / LANES * LANES;
            continue;
        }
        int64_t at = k->row_start[s] + neighbours(k, s, k->column + k->row_start[s]);
        for (; at < k->row_start[s + 1]; at++) k->column[at] = (int32_t)s;
    }
}

static int matrix_rows(exposure_work *k, int threads)
{
    roman_parallel(threads, k->blocks, row_block, k);
    for (int64_t s = 0; s < k->n; s++) k->row_start[s + 1] += k->row_start[s];
    k->value = take(k, k->row_start[k->n], sizeof *k->value);
    k->column = take(k, k->row_start[k->n], sizeof *k->column);
    if (!k->value || !k->column) return ROMAN_ERR_MEMORY;
    roman_parallel(threads, k->blocks, row_block, k);
    return ROMAN_OK;
}

static int allocate(exposure_work *k)
{
    int64_t n = k->n, pieces = k->blocks > k->bands ? k->blocks : k->bands;
    k->cell_start = take(k, k->cells_x * k->cells_y + 2, sizeof *k->cell_start);
    k->order = take(k, n, sizeof *k->order);
    k->corner = take(k, n, sizeof *k->corner);
    k->offset = take(k, n, sizeof *k->offset);
    k->row_start = take(k, n + 1, sizeof *k->row_start);
    k->x = take(k, 4 * n, sizeof *k->x);
    k->half = take(k, 3 * n, sizeof *k->half);
    k->inverse = take(k, (3 + k->n_sky) * n, sizeof *k->inverse);
    k->pull = take(k, 6 * n, sizeof *k->pull);
    k->partial = take(k, pieces * PARTIALS, sizeof *k->partial);
    if (!k->cell_start || !k->order || !k->corner || !k->offset || !k->row_start || !k->x || !k->half ||
        !k->inverse || !k->pull || !k->partial) {
        return ROMAN_ERR_MEMORY;
    }
    k->y = k->x + n;
    k->expected = k->y + n;
    k->deviation = k->expected + n;
    k->ix = k->half + n;
    k->iy = k->ix + n;
    k->lambda = k->inverse + n;
    k->diagonal = k->lambda + n;
    k->coupling = k->diagonal + n;
    k->change = k->pull + n;
    k->d = k->change + n;
    k->r = k->d + n;
    k->p = k->r + n;
    k->q = k->p + n;
    return ROMAN_OK;
}

static void release(exposure_work *k)
{
    free(k->cell_start);
    free(k->order);
    free(k->corner);
    free(k->offset);
    free(k->row_start);
    free(k->x);
    free(k->half);
    free(k->inverse);
    free(k->pull);
    free(k->partial);
    free(k->stamps);
    free(k->cores);
    free(k->value);
    free(k->column);
}

/* --- the sky ---------------------------------------------------------------------------------- */

static void sky_solve(const exposure_work *k, const double *right, double *out)
{
    int m = k->n_sky;
    const double *L = k->factor;
    for (int i = 0; i < m; i++) {
        double v = right[i];
        for (int j = 0; j < i; j++) v -= L[i * m + j] * out[j];
        out[i] = v / L[i * m + i];
    }
    for (int i = m - 1; i >= 0; i--) {
        double v = out[i];
        for (int j = i + 1; j < m; j++) v -= L[j * m + i] * out[j];
        out[i] = v / L[i * m + i];
    }
}

/* Sky sums over the image, and at the first call the Cholesky factor of its matrix. */
static int sky_sums(exposure_work *k, const exposure_pieces *pieces, int threads, int first)
{
    int m = k->n_sky, at = 0;
    double *L = k->factor;
    k->want_sky_matrix = first;
    roman_parallel(threads, k->bands, pieces->sky, k);
    for (int i = 0; i < m; i++) {
        for (int j = -1; j <= (first ? i : -1); j++, at++) {
            double sum = 0;
            for (int64_t b = 0; b < k->bands; b++) sum += k->partial[b * PARTIALS + at];
            if (j < 0) k->sky_pull[i] = sum;
            else L[i * m + j] = sum;
        }
    }
    if (!first) return ROMAN_OK;
    for (int j = 0; j < m; j++) {
        double d = L[j * m + j];
        for (int q = 0; q < j; q++) d -= L[j * m + q] * L[j * m + q];
        if (!(d > 1e-9 * L[j * m + j])) return ROMAN_ERR_SINGULAR;
        L[j * m + j] = sqrt(d);
        for (int i = j + 1; i < m; i++) {
            double v = L[i * m + j];
            for (int q = 0; q < j; q++) v -= L[i * m + q] * L[j * m + q];
            L[i * m + j] = v / L[j * m + j];
        }
    }
    return ROMAN_OK;
}

/* --- a round ---------------------------------------------------------------------------------- */

static double worst_of(const exposure_work *k)
{
    double worst = 0;
    for (int64_t b = 0; b < k->blocks; b++) {
        if (k->partial[b * PARTIALS] > worst) worst = k->partial[b * PARTIALS];
    }
    return worst;
}

static double sum_of(const exposure_work *k, int which)
{
    double sum = 0;
    for (int64_t b = 0; b < k->blocks; b++) sum += k->partial[b * PARTIALS + which];
    return sum;
}

/* Step d of the stars for the gradient in r, by preconditioned conjugate gradients; the sky is eliminated. */
static int solve_step(exposure_work *k, const exposure_pieces *pieces, int threads, double enough, int most)
{
    int m = k->n_sky, iterations = 0;
    memset(k->d, 0, (size_t)k->n * sizeof *k->d);
    memset(k->p, 0, 2 * (size_t)k->n * sizeof *k->p);
    /* A step of -1 along q = 0 takes the sky's share out of the gradient: r - coupling C^-1 pull. */
    sky_solve(k, k->sky_pull, k->shift);
    k->step = -1.0;
    roman_parallel(threads, k->blocks, pieces->step, k);
    double product = sum_of(k, 1), worst = worst_of(k);
    k->step = 0.0;
    roman_parallel(threads, k->blocks, pieces->direction, k);
    while (worst > enough && iterations < most) {
        double along[ROMAN_MAX_SKY];
        roman_parallel(threads, k->blocks, pieces->apply, k);
        double pq = sum_of(k, 0);
        for (int t = 0; t < m; t++) along[t] = sum_of(k, 1 + t);
        sky_solve(k, along, k->shift);
        for (int t = 0; t < m; t++) pq -= along[t] * k->shift[t];
        if (!(pq > 0)) break;
        k->step = product / pq;
        roman_parallel(threads, k->blocks, pieces->step, k);
        double next = sum_of(k, 1);
        worst = worst_of(k);
        k->step = next / product;
        product = next;
        roman_parallel(threads, k->blocks, pieces->direction, k);
        iterations++;
    }
    return iterations;
}

/* Adds `share` of the last step to the deviations and the sky, and takes it out of the residual image. */
static void move(exposure_work *k, const exposure_pieces *pieces, int threads, double share, double *sky)
{
    for (int t = 0; t < k->n_sky; t++) {
        k->sky_step[t] *= share;
        sky[t] += k->sky_step[t];
    }
    for (int64_t s = 0; s < k->n; s++) {
        k->d[s] *= (float)share;
        k->deviation[s] += k->d[s];
        k->change[s] = k->d[s] * k->inverse[s];
    }
    roman_parallel(threads, k->bands, pieces->subtract, k);
}

/* How fast the objective falls along the last step (half of it, per step), `back` of it before where the deviations
 * are: the gradients in `pull` and `sky_pull` must be those of there. */
static double fall(const exposure_work *k, double back)
{
    double sum = 0;
    for (int t = 0; t < k->n_sky; t++) sum += k->sky_step[t] * k->sky_pull[t];
    for (int64_t s = 0; s < k->n; s++) {
        double deviation = k->deviation[s] - back * (double)k->d[s];
        sum += (double)k->d[s] * ((double)k->pull[s] - (double)k->lambda[s] * deviation);
    }
    return sum;
}

/* Takes the step into the deviations, the sky and the residual image; frees stars far from what was expected.
 * Returns how many; `before` is the objective's fall where the step begins. */
static int64_t take_step(exposure_work *k, const exposure_pieces *pieces, const roman_exposure_options *o,
                         double *sky, double *before)
{
    double right[ROMAN_MAX_SKY];
    int64_t released = 0;
    /* In later rounds few stars still move: the others need not be drawn again. */
    for (int64_t s = 0; s < k->n; s++) {
        if (fabsf(k->d[s]) < 0.02 * o->tolerance) k->d[s] = 0;
    }
    for (int t = 0; t < k->n_sky; t++) {
        double sum = 0;
        for (int64_t s = 0; s < k->n; s++) sum += (double)k->coupling[t * k->n + s] * k->d[s];
        right[t] = k->sky_pull[t] - sum;
    }
    sky_solve(k, right, k->sky_step);
    move(k, pieces, o->threads, k->damping, sky);
    for (int64_t s = 0; s < k->n; s++) {
        /* Beyond the edge stars look alike: free of the prior, they would share light among them at will. */
        if (k->lambda[s] > 0 && fabs(k->deviation[s]) * (1 + k->lambda[s]) > o->release && !is_outside(k, s)) {
            k->lambda[s] = 0;
            released++;
        }
    }
    *before = fall(k, 1.0);
    return released;
}

/* The approximate matrix lacks wings: where those rule, a step by it goes too far, and the next one farther still.
 * Goes back to the minimum along the last step if that lies well before its end, and shortens the next ones. Returns
 * whether it did, the gradients being those of there. */
static int go_back(exposure_work *k, const exposure_pieces *pieces, int threads, double before, double *sky)
{
    double after = fall(k, 0.0), share = before > 0 && after < 0 ? before / (before - after) : 1.0;
    if (!(share < 0.7)) return 0;
    k->damping = fmax(k->damping * share, LEAST_DAMPING);
    move(k, pieces, threads, share - 1.0, sky);
    sky_sums(k, pieces, threads, 0);
    roman_parallel(threads, k->blocks, pieces->gradient, k);
    return 1;
}

static int fit(exposure_work *k, const exposure_pieces *pieces, roman_exposure_options *o, double *sky)
{
    /* The first model is the catalogue's, and the first sky the one that is left below it. */
    for (int64_t s = 0; s < k->n; s++) k->change[s] = (float)k->expected[s];
    roman_parallel(o->threads, k->bands, pieces->subtract, k);
    int status = sky_sums(k, pieces, o->threads, 1);
    if (status != ROMAN_OK) return status;
    memset(k->change, 0, (size_t)k->n * sizeof *k->change);
    sky_solve(k, k->sky_pull, k->sky_step);
    for (int t = 0; t < k->n_sky; t++) sky[t] = k->sky_step[t];
    roman_parallel(o->threads, k->bands, pieces->subtract, k);
    int64_t released = 1;
    double before = 0, last = INFINITY;
    k->damping = 1.0;
    for (o->rounds = 0;; o->rounds++) {
        roman_parallel(o->threads, k->blocks, pieces->gradient, k);
        o->worst_gradient = worst_of(k);
        if (o->worst_gradient <= o->tolerance && !released) return ROMAN_OK;
        status = sky_sums(k, pieces, o->threads, 0);
        if (o->worst_gradient > 0.9 * last && go_back(k, pieces, o->threads, before, sky)) {
            o->worst_gradient = worst_of(k);
        } else {
            k->damping = fmin(1.0, LENGTHENED * k->damping);
        }
        if (!isfinite(o->worst_gradient)) return ROMAN_ERR_ARGUMENT;
        if (o->rounds == o->max_rounds) return ROMAN_ERR_CONVERGENCE;
        last = o->worst_gradient;
        double enough = 0.02 * o->worst_gradient;
        if (enough < 0.3 * o->tolerance) enough = 0.3 * o->tolerance;
        o->iterations += solve_step(k, pieces, o->threads, enough, 20);
        released = take_step(k, pieces, o, sky, &before);
        o->released += released;
    }
}

/* --- errors ----------------------------------------------------------------------------------- */

static double entry(const exposure_work *k, int32_t i, int32_t j)
{
    for (int64_t at = k->row_start[i]; at < k->row_start[i + 1]; at++) {
        if (k->column[at] == j) return k->value[at];
    }
    return 0;
}

/* Variance of star s in the block of its strongest neighbours, in units of its own alone; the prior holds for
 * the neighbours, not for the star itself. */
static double inflation(const exposure_work *k, int64_t s)
{
    int32_t who[NEIGHBOURS];
    double with[NEIGHBOURS], L[NEIGHBOURS * NEIGHBOURS], z[NEIGHBOURS], explained = 0;
    int m = 0;
    for (int64_t at = k->row_start[s]; at < k->row_start[s + 1]; at++) {
        double v = k->value[at];
        if (fabs(v) < 0.03) continue;
        int slot = m < NEIGHBOURS ? m++ : NEIGHBOURS;
        for (; slot > 0 && fabs(with[slot - 1]) < fabs(v); slot--) {
            if (slot == NEIGHBOURS) continue;
            with[slot] = with[slot - 1];
            who[slot] = who[slot - 1];
        }
        if (slot == NEIGHBOURS) continue;
        with[slot] = v;
        who[slot] = k->column[at];
    }
    for (int r = 0; r < m; r++) {
        for (int c = 0; c <= r; c++) {
            double v = r == c ? 1.0 + 1e-6 + k->lambda[who[r]] : entry(k, who[r], who[c]);
            for (int q = 0; q < c; q++) v -= L[r * NEIGHBOURS + q] * L[c * NEIGHBOURS + q];
            L[r * NEIGHBOURS + c] = r == c ? sqrt(v > 1e-6 ? v : 1e-6) : v / L[c * NEIGHBOURS + c];
        }
        z[r] = with[r];
        for (int q = 0; q < r; q++) z[r] -= L[r * NEIGHBOURS + q] * z[q];
        z[r] /= L[r * NEIGHBOURS + r];
        explained += z[r] * z[r];
    }
    return 1.0 / (1.0 - explained > 1e-3 ? 1.0 - explained : 1e-3);
}

typedef struct {
    exposure_work *work;
    double *flux, *flux_err;
    float *chi2;
} results;

static void result_block(void *context, int64_t block)
{
    results *out = context;
    const exposure_work *k = out->work;
    for (int64_t s = block * BLOCK; s < block_end(k, block); s++) {
        int64_t i = k->order[s], centre = k->iy[s] * k->stride + k->ix[s];
        double pull = k->pull[s];
        int alive = k->inverse[s] > 0, used = 0;
        out->flux[i] = alive ? k->expected[s] + (k->deviation[s] + pull) * k->inverse[s] : 0.0;
        out->flux_err[i] = alive ? sqrt(inflation(k, s)) * k->inverse[s] : INFINITY;
        double sum = 0;
        for (int row = -CORE; row <= CORE; row++) {
            for (int col = -CORE; col <= CORE; col++) {
                int64_t p = centre + row * k->stride + col;
                used += k->weight[p] > 0;
                sum += (double)k->weight[p] * k->residual[p] * k->residual[p];
            }
        }
        out->chi2[i] = used ? (float)(sum / used) : NAN;
    }
}

int roman_exposure_fit(const roman_psf_field *field, const roman_frame *frame, int64_t n,
                       const double *x, const double *y, const int32_t *half,
                       const double *expected, const float *data, const float *weight,
                       const float *basis, double *flux, double *flux_err, float *chi2, double *sky,
                       float *residual, roman_exposure_options *options, int32_t level)
{
    options->rounds = options->iterations = 0;
    options->released = options->matrix_entries = options->bytes = 0;
    if (n < 1 || n > INT32_MAX / 2 || options->n_sky < 1 || options->n_sky > ROMAN_MAX_SKY ||
        options->max_rounds < 1 || options->threads < 1 || !(options->tolerance > 0) ||
        !(options->strength >= 0) || !(options->spread >= 0) || !(options->release > 0) ||
        field->cells_y < 1 || field->cells_x < 1 || !(field->cell_px > 0) || frame->pad < 2 * LANES ||
        !roman_stamps_fit(&field->psf, frame, n, x, y, half)) {
        return ROMAN_ERR_ARGUMENT;
    }
    exposure_work k = {.n = n, .field = field, .weight = weight, .basis = basis, .residual = residual,
                       .n_sky = options->n_sky, .strength = options->strength, .spread = options->spread};
    k.stride = (int64_t)frame->nx + 2 * frame->pad;
    k.rows = (int64_t)frame->ny + 2 * frame->pad;
    k.plane = k.stride * k.rows;
    k.pad = frame->pad;
    k.blocks = (n + BLOCK - 1) / BLOCK;
    k.bands = (k.rows + BAND - 1) / BAND;
    k.cells_x = k.stride / CELL + 1;
    k.cells_y = k.rows / CELL + 1;
    const exposure_pieces *pieces = DISPATCH(level, pieces, );
    int status = allocate(&k);
    if (status == ROMAN_OK) status = sort_stars(&k, frame, x, y);
    if (status == ROMAN_OK) status = place_stars(&k, frame, x, y, half, expected);
    if (status == ROMAN_OK) status = matrix_rows(&k, options->threads);
    if (status == ROMAN_OK) {
        memcpy(residual, data, (size_t)k.plane * sizeof *residual);
        roman_parallel(options->threads, k.blocks, pieces->prepare, &k);
        roman_parallel(options->threads, k.blocks, pieces->matrix, &k);
        status = fit(&k, pieces, options, sky);
    }
    if (status == ROMAN_OK || status == ROMAN_ERR_CONVERGENCE) {
        results out = {&k, flux, flux_err, chi2};
        roman_parallel(options->threads, k.blocks, result_block, &out);
        options->matrix_entries = k.row_start[n];
        options->bytes = k.bytes;
    }
    release(&k);
    return status;
}
