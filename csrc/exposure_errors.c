#include "exposure_errors.h"

#include <math.h>

#include "local_error.h"
#include "parallel.h"

#define NEIGHBOURS 6 /* strongest neighbours in a star's error */

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
    double with[NEIGHBOURS], block[NEIGHBOURS * NEIGHBOURS];
    int m = 0;
    for (int64_t at = k->row_start[s]; at < k->row_start[s + 1]; at++) {
        double v = k->value[at];
        if (fabs(v) >= 0.03) m = keep_strongest(NEIGHBOURS, m, k->column[at], v, who, with);
    }
    for (int r = 0; r < m; r++) {
        for (int c = 0; c <= r; c++) {
            block[r * NEIGHBOURS + c] = r == c ? 1.0 + 1e-6 + k->lambda[who[r]] : entry(k, who[r], who[c]);
        }
    }
    return variance_among(m, NEIGHBOURS, block, with);
}

typedef struct {
    exposure_work *work;
    double *flux, *flux_err;
    float *chi2, *gradient;
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
        out->gradient[i] = k->r[s];
        out->chi2[i] = used ? (float)(sum / used) : NAN;
    }
}

void roman_exposure_results(exposure_work *k, int threads, double *flux, double *flux_err, float *chi2,
                            float *gradient)
{
    results out = {k, flux, flux_err, chi2, gradient};
    roman_parallel(threads, k->blocks, result_block, &out);
}
