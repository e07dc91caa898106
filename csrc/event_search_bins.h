/* Light curves of a block of stars in bins of time, for event_search_body.h: once per vector level (levels.h). */

#ifndef SEARCH_GROUP
#define SEARCH_GROUP 16 /* stars side by side; every lane is a star, no sum crosses lanes */
#define SEARCH_BLOCK 64 /* most stars that share one template evaluation */
#define SEARCH_TILE 64  /* epochs transposed at a time */

typedef struct {
    double *t0, *teff;
    int32_t *shape;
    double *dchi2, *dchi2_without, *base, *height;
    int32_t *n_high, *run;
} search_found;

/* Binned sums of a block: [bin][width] with width a multiple of SEARCH_GROUP. Weights are in units of the
 * star's mean weight and residuals (from its mean) in the matching error, so that float suffices. */
typedef struct {
    int64_t n, width, capacity;
    int64_t *cell;            /* of each bin on the regular grid of the present bin width */
    double *time, *count;     /* mean epoch and epochs of each bin */
    float *w, *wr;            /* sum of weights, of weight * residual */
    float *peak_w, *peak_wr;  /* the same of the most significant single point above the mean */
    float *total;             /* [width] sum of weights of the whole curve */
    float *best;              /* [width] best dchi2 without its most significant point */
    double *best_t0, *best_teff;
    int32_t *best_shape;
    float *a[2], *a2[2];      /* templates of a window and their squares */
} search_work;
#endif

static int AT_LEVEL(usable)(float f, float e)
{
    return isfinite(f) && isfinite(e) && e > 0;
}

/* Mean and mean weight of a star; 0 where there are fewer than three usable points. */
static int AT_LEVEL(star_mean)(int64_t n, const float *f, const float *e, double *mean,
                               double *mean_weight)
{
    double sw = 0, swf = 0;
    int64_t used = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!AT_LEVEL(usable)(f[i], e[i])) continue;
        double w = 1.0 / ((double)e[i] * e[i]);
        sw += w;
        swf = fma(w, f[i], swf);
        used++;
    }
    if (used < 3 || !isfinite(sw) || !isfinite(swf)) return 0;
    *mean = swf / sw;
    *mean_weight = sw / (double)used;
    return 1;
}

/* Keeps in (w, wr) the more significant of two single points. */
static void AT_LEVEL(keep_peak)(float *w, float *wr, float w2, float wr2)
{
    if (wr2 > 0 && (*wr <= 0 || wr2 * wr2 * *w > *wr * *wr * w2)) {
        *w = w2;
        *wr = wr2;
    }
}

/* Fills the finest bins from the block's light curves. */
static void AT_LEVEL(load_block)(search_work *k, double bin, int64_t n_epochs, const double *mjd,
                                 int64_t n_stars, const float *flux, const float *flux_err)
{
    int64_t width = k->width, n = 0;
    for (int64_t e = 0; e < n_epochs; e++) {
        int64_t cell = (int64_t)floor((mjd[e] - mjd[0]) / bin);
        if (n == 0 || cell != k->cell[n - 1]) {
            k->cell[n] = cell;
            k->time[n] = 0;
            k->count[n] = 0;
            n++;
        }
        k->time[n - 1] += mjd[e] - mjd[0];
        k->count[n - 1] += 1;
    }
    k->n = n;
    size_t floats = (size_t)(n * width);
    memset(k->w, 0, floats * sizeof(float));
    memset(k->wr, 0, floats * sizeof(float));
    memset(k->peak_w, 0, floats * sizeof(float));
    memset(k->peak_wr, 0, floats * sizeof(float));
    for (int64_t s = 0; s < width; s++) k->total[s] = 0;
    double mean[SEARCH_BLOCK], weight[SEARCH_BLOCK], error[SEARCH_BLOCK];
    int alive[SEARCH_BLOCK];
    for (int64_t s = 0; s < n_stars; s++) {
        alive[s] = AT_LEVEL(star_mean)(n_epochs, flux + s * n_epochs, flux_err + s * n_epochs,
                                       mean + s, weight + s);
        error[s] = alive[s] ? sqrt(weight[s]) : 0;
    }
    int64_t b_start = 0, done = 0; /* bin of the tile's first epoch, and epochs of it already passed */
    for (int64_t e0 = 0; e0 < n_epochs; e0 += SEARCH_TILE) {
        int64_t e1 = e0 + SEARCH_TILE < n_epochs ? e0 + SEARCH_TILE : n_epochs;
        int64_t b = b_start, passed = done;
        for (int64_t s = 0; s < n_stars; s++) {
            const float *f = flux + s * n_epochs, *err = flux_err + s * n_epochs;
            b = b_start;
            passed = done;
            for (int64_t e = e0; e < e1; e++) {
                if (passed == (int64_t)k->count[b]) {
                    b++;
                    passed = 0;
                }
                passed++;
                if (!alive[s] || !AT_LEVEL(usable)(f[e], err[e])) continue;
                float w = (float)(1.0 / ((double)err[e] * err[e] * weight[s]));
                float wr = w * (float)((f[e] - mean[s]) * error[s]);
                int64_t at = b * width + s;
                k->w[at] += w;
                k->wr[at] += wr;
                AT_LEVEL(keep_peak)(k->peak_w + at, k->peak_wr + at, w, wr);
                k->total[s] += w;
            }
        }
        b_start = b;
        done = passed;
    }
    for (int64_t i = 0; i < n; i++) k->time[i] = mjd[0] + k->time[i] / k->count[i];
}

/* Doubles the bin width, in place. */
static void AT_LEVEL(coarsen)(search_work *k)
{
    int64_t width = k->width, m = 0;
    for (int64_t i = 0; i < k->n; i++) {
        int64_t cell = k->cell[i] >> 1;
        float *w = k->w + i * width, *wr = k->wr + i * width;
        float *pw = k->peak_w + i * width, *pwr = k->peak_wr + i * width;
        if (m && k->cell[m - 1] == cell) {
            int64_t at = (m - 1) * width;
            double all = k->count[m - 1] + k->count[i];
            k->time[m - 1] = (k->time[m - 1] * k->count[m - 1] + k->time[i] * k->count[i]) / all;
            k->count[m - 1] = all;
            for (int64_t s = 0; s < width; s++) {
                k->w[at + s] += w[s];
                k->wr[at + s] += wr[s];
            }
            for (int64_t s = 0; s < width; s++) {
                AT_LEVEL(keep_peak)(k->peak_w + at + s, k->peak_wr + at + s, pw[s], pwr[s]);
            }
            continue;
        }
        k->cell[m] = cell;
        k->time[m] = k->time[i];
        k->count[m] = k->count[i];
        if (m != i) {
            size_t bytes = (size_t)width * sizeof(float);
            memcpy(k->w + m * width, w, bytes);
            memcpy(k->wr + m * width, wr, bytes);
            memcpy(k->peak_w + m * width, pw, bytes);
            memcpy(k->peak_wr + m * width, pwr, bytes);
        }
        m++;
    }
    k->n = m;
}
