/* Body of event_search.c, compiled once per vector level (levels.h). */

#include "event_search_bins.h"

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
