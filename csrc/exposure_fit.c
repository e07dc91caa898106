#include "exposure_fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cholesky.h"
#include "exposure_errors.h"
#include "exposure_work.h"
#include "parallel.h"
#include "roman_status.h"

#define LEAST_DAMPING 0.05 /* of a step; after a good one the next is LENGTHENED */
#define LENGTHENED 1.5

typedef struct {
    void (*prepare)(void *, int64_t), (*matrix)(void *, int64_t), (*subtract)(void *, int64_t),
        (*sky)(void *, int64_t), (*gradient)(void *, int64_t), (*apply)(void *, int64_t),
        (*step)(void *, int64_t), (*direction)(void *, int64_t);
} exposure_pieces;

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

/* --- the sky ---------------------------------------------------------------------------------- */

static const cholesky_rule SKY_RULE = {.least = 1e-9, .relative = 1};

static void sky_solve(const exposure_work *k, const double *right, double *out)
{
    for (int i = 0; i < k->n_sky; i++) out[i] = right[i];
    cholesky_solve(SKY_RULE, k->n_sky, k->n_sky, k->factor, out);
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
    return !first || cholesky_factor(SKY_RULE, m, m, L) ? ROMAN_OK : ROMAN_ERR_SINGULAR;
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

int roman_exposure_fit(const roman_psf_field *field, const roman_frame *frame, int64_t n,
                       const double *x, const double *y, const int32_t *half,
                       const double *expected, const float *data, const float *weight,
                       const float *basis, double *flux, double *flux_err, float *chi2, float *gradient,
                       double *sky, float *residual, roman_exposure_options *options, int32_t level)
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
    int status = roman_exposure_work(&k, frame, x, y, half, expected, options->threads);
    if (status == ROMAN_OK) {
        memcpy(residual, data, (size_t)k.plane * sizeof *residual);
        roman_parallel(options->threads, k.blocks, pieces->prepare, &k);
        roman_parallel(options->threads, k.blocks, pieces->matrix, &k);
        status = fit(&k, pieces, options, sky);
    }
    if (status == ROMAN_OK || status == ROMAN_ERR_CONVERGENCE) {
        roman_exposure_results(&k, options->threads, flux, flux_err, chi2, gradient);
        options->matrix_entries = k.row_start[n];
        options->bytes = k.bytes;
    }
    roman_exposure_release(&k);
    return status;
}
