/* Body of event_search.c, compiled once per vector level (levels.h). */

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

/* Templates minus their value at the window's edge, for bins lo..lo+n. */
static void AT_LEVEL(templates)(search_work *k, int64_t lo, int64_t n, double t0, double teff,
                                float edge1, float edge2)
{
    const double *time = k->time + lo;
    float *a1 = k->a[0], *a2 = k->a[1], *s1 = k->a2[0], *s2 = k->a2[1];
    double inverse = 1.0 / teff;
    for (int64_t i = 0; i < n; i++) {
        float x = (float)((time[i] - t0) * inverse);
        float q = fmaf(x, x, 1.0f);
        float p = 1.0f / sqrtf(q) - edge1, r = paczynski_templatef(q) - edge2;
        a1[i] = p;
        a2[i] = r;
        s1[i] = p * p;
        s2[i] = r * r;
    }
}

/* Sums w a, w a^2, w r a over a window for the stars of one group and both templates. */
static void AT_LEVEL(window_sums)(const search_work *k, int64_t at, int64_t n,
                                  float out[restrict 6][SEARCH_GROUP])
{
    const float *restrict w = k->w + at, *restrict wr = k->wr + at;
    const float *restrict a1 = k->a[0], *restrict a2 = k->a[1];
    const float *restrict q1 = k->a2[0], *restrict q2 = k->a2[1];
    int64_t width = k->width;
    float s0[SEARCH_GROUP], s1[SEARCH_GROUP], s2[SEARCH_GROUP];
    float s3[SEARCH_GROUP], s4[SEARCH_GROUP], s5[SEARCH_GROUP];
    for (int l = 0; l < SEARCH_GROUP; l++) {
        s0[l] = s1[l] = s2[l] = s3[l] = s4[l] = s5[l] = 0;
    }
    for (int64_t i = 0; i < n; i++) {
        float a = a1[i], b = a2[i], aa = q1[i], bb = q2[i];
        for (int l = 0; l < SEARCH_GROUP; l++) {
            s0[l] = fmaf(a, w[l], s0[l]);
            s1[l] = fmaf(aa, w[l], s1[l]);
            s2[l] = fmaf(a, wr[l], s2[l]);
            s3[l] = fmaf(b, w[l], s3[l]);
            s4[l] = fmaf(bb, w[l], s4[l]);
            s5[l] = fmaf(b, wr[l], s5[l]);
        }
        w += width;
        wr += width;
    }
    for (int l = 0; l < SEARCH_GROUP; l++) {
        out[0][l] = s0[l];
        out[1][l] = s1[l];
        out[2][l] = s2[l];
        out[3][l] = s3[l];
        out[4][l] = s4[l];
        out[5][l] = s5[l];
    }
}

/* dchi2 of a window without its most significant point. The point is taken out of all sums, the mean
 * included (the weighted residuals of the whole curve sum to zero). */
static float AT_LEVEL(without_peak)(const search_work *k, int64_t lo, int64_t n, int64_t s,
                                    const float *a, float swa, float swaa, float swra)
{
    const float *pw = k->peak_w + lo * k->width + s, *pwr = k->peak_wr + lo * k->width + s;
    float most = 0, w = 0, wr = 0, template = 0;
    for (int64_t i = 0; i < n; i++) {
        float c = pwr[i * k->width] * a[i];
        if (c > most) {
            most = c;
            w = pw[i * k->width];
            wr = pwr[i * k->width];
            template = a[i];
        }
    }
    float rest = k->total[s] - w;
    if (!(rest > 0)) return 0;
    float wa = fmaf(-w, template, swa);
    float top = fmaf(wa, wr / rest, fmaf(-wr, template, swra));
    float waa = fmaf(-w * template, template, swaa);
    float under = fmaf(-wa, wa / rest, waa);
    if (!(top > 0) || !(under > 1e-4f * swaa)) return 0;
    return top * top / under;
}

/* Tries one (t0, teff) on every star of the block. */
static void AT_LEVEL(try_window)(search_work *k, int64_t lo, int64_t n, double t0, double teff)
{
    for (int64_t group = 0; group < k->width; group += SEARCH_GROUP) {
        float sums[6][SEARCH_GROUP], gain[2][SEARCH_GROUP];
        AT_LEVEL(window_sums)(k, lo * k->width + group, n, sums);
        const float *total = k->total + group, *best = k->best + group;
        int any = 0;
        for (int j = 0; j < 2; j++) {
            for (int l = 0; l < SEARCH_GROUP; l++) {
                float wa = sums[3 * j][l], waa = sums[3 * j + 1][l], wra = sums[3 * j + 2][l];
                float under = fmaf(-wa, wa / total[l], waa);
                float g = wra * wra / under;
                gain[j][l] = ((wra > 0) & (under > 1e-4f * waa)) ? g : 0.0f;
            }
        }
        for (int l = 0; l < SEARCH_GROUP; l++) {
            any |= (gain[0][l] > best[l]) | (gain[1][l] > best[l]);
        }
        if (!any) continue;
        for (int l = 0; l < SEARCH_GROUP; l++) {
            int64_t s = group + l;
            for (int j = 0; j < 2; j++) {
                if (!(gain[j][l] > k->best[s])) continue;
                float g = AT_LEVEL(without_peak)(k, lo, n, s, k->a[j], sums[3 * j][l],
                                                 sums[3 * j + 1][l], sums[3 * j + 2][l]);
                /* A bright point near the edge of a window can hide how badly its template fits. */
                if (g > gain[j][l]) g = gain[j][l];
                if (g > k->best[s]) {
                    k->best[s] = g;
                    k->best_t0[s] = t0;
                    k->best_teff[s] = teff;
                    k->best_shape[s] = j + 1;
                }
            }
        }
    }
}

/* All t0 of one teff. */
static void AT_LEVEL(scan)(search_work *k, const roman_search_grid *grid, double teff)
{
    double first = k->time[0] - teff, last = k->time[k->n - 1] + teff;
    double step = teff / grid->steps_per_teff, half = grid->reach * teff;
    double q = 1.0 + grid->reach * grid->reach;
    float edge1 = (float)(1.0 / sqrt(q)), edge2 = (float)paczynski_template(q);
    int64_t lo = 0, hi = 0;
    for (int64_t i = 0;; i++) {
        double t0 = first + (double)i * step;
        if (t0 > last) break;
        while (lo < k->n && k->time[lo] <= t0 - half) lo++;
        if (lo == k->n) break;
        if (hi < lo) hi = lo;
        while (hi < k->n && k->time[hi] < t0 + half) hi++;
        if (hi == lo) { /* a gap: on to the first t0 whose window reaches the next bin */
            int64_t next = (int64_t)floor((k->time[lo] - half - first) / step);
            if (next > i) i = next;
            continue;
        }
        AT_LEVEL(templates)(k, lo, hi - lo, t0, teff, edge1, edge2);
        AT_LEVEL(try_window)(k, lo, hi - lo, t0, teff);
    }
}

/* The winning window again, on single points in double precision. */
static void AT_LEVEL(measure)(const roman_search_grid *grid, int64_t n, const double *mjd,
                              const float *f, const float *e, int64_t s, const search_found *out)
{
    double t0 = out->t0[s], teff = out->teff[s], half = grid->reach * teff;
    double q = 1.0 + grid->reach * grid->reach;
    double edge = out->shape[s] == 1 ? 1.0 / sqrt(q) : paczynski_template(q);
    double mean = 0, mean_weight = 0, sw = 0, wa = 0, waa = 0, wra = 0;
    double peak = 0, peak_w = 0, peak_wr = 0, peak_a = 0;
    AT_LEVEL(star_mean)(n, f, e, &mean, &mean_weight);
    for (int64_t i = 0; i < n; i++) {
        if (!AT_LEVEL(usable)(f[i], e[i])) continue;
        double w = 1.0 / ((double)e[i] * e[i]), x = (mjd[i] - t0) / teff, a = 0;
        sw += w;
        if (!(fabs(mjd[i] - t0) < half)) continue;
        q = fma(x, x, 1.0);
        a = (out->shape[s] == 1 ? 1.0 / sqrt(q) : paczynski_template(q)) - edge;
        double wr = w * (f[i] - mean);
        wa = fma(w, a, wa);
        waa = fma(w * a, a, waa);
        wra = fma(wr, a, wra);
        if (wr * a > peak) {
            peak = wr * a;
            peak_w = w;
            peak_wr = wr;
            peak_a = a;
        }
    }
    double under = fma(-wa, wa / sw, waa);
    out->height[s] = under > 0 ? wra / under : 0;
    out->base[s] = mean - out->height[s] * wa / sw;
    out->dchi2[s] = under > 0 ? wra * wra / under : 0;
    double rest = sw - peak_w;
    wa = fma(-peak_w, peak_a, wa);
    waa = fma(-peak_w * peak_a, peak_a, waa);
    wra = fma(wa, peak_wr / rest, fma(-peak_wr, peak_a, wra));
    under = fma(-wa, wa / rest, waa);
    double without = wra > 0 && under > 0 ? wra * wra / under : 0;
    out->dchi2_without[s] = without < out->dchi2[s] ? without : out->dchi2[s];
    int32_t run = 0, longest = 0, high = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!(fabs(mjd[i] - t0) < half) || !AT_LEVEL(usable)(f[i], e[i])) continue;
        run = f[i] - out->base[s] > grid->high_sigma * e[i] ? run + 1 : 0;
        high += run > 0;
        if (run > longest) longest = run;
    }
    out->n_high[s] = high;
    out->run[s] = longest;
}

static int AT_LEVEL(allocate)(search_work *k, int64_t n_epochs, int64_t width)
{
    size_t n = (size_t)n_epochs, floats = n * (size_t)width;
    k->width = width;
    k->cell = malloc(n * sizeof *k->cell);
    k->time = malloc(n * sizeof *k->time);
    k->count = malloc(n * sizeof *k->count);
    k->w = malloc(floats * sizeof(float));
    k->wr = malloc(floats * sizeof(float));
    k->peak_w = malloc(floats * sizeof(float));
    k->peak_wr = malloc(floats * sizeof(float));
    k->total = malloc((size_t)width * sizeof(float));
    k->best = malloc((size_t)width * sizeof(float));
    k->best_t0 = malloc((size_t)width * sizeof(double));
    k->best_teff = malloc((size_t)width * sizeof(double));
    k->best_shape = malloc((size_t)width * sizeof(int32_t));
    int ok = k->cell && k->time && k->count && k->w && k->wr && k->peak_w && k->peak_wr &&
             k->total && k->best && k->best_t0 && k->best_teff && k->best_shape;
    for (int j = 0; j < 2; j++) {
        k->a[j] = malloc(n * sizeof(float));
        k->a2[j] = malloc(n * sizeof(float));
        ok = ok && k->a[j] && k->a2[j];
    }
    return ok;
}

static void AT_LEVEL(release)(search_work *k)
{
    free(k->cell);
    free(k->time);
    free(k->count);
    free(k->w);
    free(k->wr);
    free(k->peak_w);
    free(k->peak_wr);
    free(k->total);
    free(k->best);
    free(k->best_t0);
    free(k->best_teff);
    free(k->best_shape);
    for (int j = 0; j < 2; j++) {
        free(k->a[j]);
        free(k->a2[j]);
    }
}

static int AT_LEVEL(event_search)(const roman_search_grid *grid, int64_t n_epochs,
                                  const double *mjd, int64_t n_stars, const float *flux,
                                  const float *flux_err, const search_found *out)
{
    search_work k;
    memset(&k, 0, sizeof k);
    int64_t widest = n_stars < SEARCH_BLOCK
                         ? (n_stars + SEARCH_GROUP - 1) / SEARCH_GROUP * SEARCH_GROUP
                         : SEARCH_BLOCK;
    if (n_stars == 0) return ROMAN_OK;
    if (!AT_LEVEL(allocate)(&k, n_epochs, widest)) {
        AT_LEVEL(release)(&k);
        return ROMAN_ERR_MEMORY;
    }
    for (int64_t from = 0; from < n_stars; from += SEARCH_BLOCK) {
        int64_t stars = n_stars - from < SEARCH_BLOCK ? n_stars - from : SEARCH_BLOCK;
        const float *f = flux + from * n_epochs, *e = flux_err + from * n_epochs;
        double bin = grid->teff_min / 4;
        k.width = (stars + SEARCH_GROUP - 1) / SEARCH_GROUP * SEARCH_GROUP;
        AT_LEVEL(load_block)(&k, bin, n_epochs, mjd, stars, f, e);
        for (int64_t s = 0; s < k.width; s++) {
            k.best[s] = 0;
            k.best_shape[s] = 0;
            if (!(k.total[s] > 0)) k.total[s] = 1; /* an empty lane: keeps the divisions finite */
        }
        for (double teff = grid->teff_min; teff <= grid->teff_max * (1 + 1e-9);
             teff *= grid->teff_ratio) {
            for (; 2 * bin <= teff / 4; bin *= 2) AT_LEVEL(coarsen)(&k);
            AT_LEVEL(scan)(&k, grid, teff);
        }
        for (int64_t s = 0; s < stars; s++) {
            int64_t to = from + s;
            out->shape[to] = k.best_shape[s];
            out->t0[to] = out->teff[to] = out->base[to] = NAN;
            out->dchi2[to] = out->dchi2_without[to] = out->height[to] = 0;
            out->n_high[to] = out->run[to] = 0;
            if (k.best_shape[s] == 0) continue;
            out->t0[to] = k.best_t0[s];
            out->teff[to] = k.best_teff[s];
            AT_LEVEL(measure)(grid, n_epochs, mjd, f + s * n_epochs, e + s * n_epochs, to, out);
        }
    }
    AT_LEVEL(release)(&k);
    return ROMAN_OK;
}
