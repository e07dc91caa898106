/* Body of optical_model.c, compiled once per vector level (levels.h). Polynomials go by Horner's rule in blocks
 * of places, always in the same order of powers, so that points and grid agree to the bit. */

#ifndef PLACES
#define PLACES 16 /* two or more chains of dependent fma at once, at every vector width */
typedef struct {
    double p[PLACES], q[PLACES]; /* focal plane [deg] */
} places;
#endif

static double AT_LEVEL(transformed)(const roman_optics *o, double wavelength)
{
    return o->logarithmic ? log10(wavelength / o->reference) : wavelength - o->reference;
}

static double AT_LEVEL(pixel_x)(const roman_optics *o, double mm)
{
    return fma(o->centre_x - mm, o->px_per_mm, o->crpix_x);
}

static double AT_LEVEL(pixel_y)(const roman_optics *o, double mm)
{
    return fma(mm - o->centre_y, o->px_per_mm, o->crpix_y);
}

/* The places from `at` on; the last one is repeated to fill the block. */
static void AT_LEVEL(load)(const roman_optics *o, int64_t n, int64_t at, const double *x0, const double *y0,
                           places *b)
{
    for (int l = 0; l < PLACES; l++) {
        int64_t s = at + l < n ? at + l : n - 1;
        b->p[l] = fma(o->centre_x, o->px_per_mm, o->crpix_x - x0[s]) * o->deg_per_px;
        b->q[l] = fma(o->centre_y, o->px_per_mm, y0[s] - o->crpix_y) * o->deg_per_px;
    }
}

/* out = sum_jk c[j][k] p^j q^k */
static void AT_LEVEL(plane)(const double *c, int nj, int nk, const places *b, double *restrict out)
{
    for (int j = nj - 1; j >= 0; j--) {
        double row[PLACES];
        for (int l = 0; l < PLACES; l++) row[l] = c[j * nk + nk - 1];
        for (int k = nk - 2; k >= 0; k--) {
            for (int l = 0; l < PLACES; l++) row[l] = fma(row[l], b->q[l], c[j * nk + k]);
        }
        for (int l = 0; l < PLACES; l++) out[l] = j == nj - 1 ? row[l] : fma(out[l], b->p[l], row[l]);
    }
}

/* The coefficients by (p, q) of the powers of the third variable: out [ni][place]. */
static void AT_LEVEL(collapse)(const double *c, int ni, int nj, int nk, const places *b,
                               double (*restrict out)[PLACES])
{
    for (int i = 0; i < ni; i++) AT_LEVEL(plane)(c + (int64_t)i * nj * nk, nj, nk, b, out[i]);
}

/* out = sum_i c[i] z^i, and its slope by z where wanted; c is [ni][place]. */
static void AT_LEVEL(series)(double (*c)[PLACES], int ni, const double *z, double *restrict out,
                             double *restrict slope)
{
    for (int l = 0; l < PLACES; l++) out[l] = c[ni - 1][l];
    for (int l = 0; slope && l < PLACES; l++) slope[l] = 0;
    for (int i = ni - 2; i >= 0; i--) {
        for (int l = 0; slope && l < PLACES; l++) slope[l] = fma(slope[l], z[l], out[l]);
        for (int l = 0; l < PLACES; l++) out[l] = fma(out[l], z[l], c[i][l]);
    }
}

typedef struct {
    double ids[ROMAN_MAX_TERMS][PLACES], crv[ROMAN_MAX_TERMS][PLACES], x[PLACES], y[PLACES];
} AT_LEVEL(sources);

static void AT_LEVEL(prepare)(const roman_optics *o, int64_t n, int64_t at, const double *x0, const double *y0,
                              AT_LEVEL(sources) * s)
{
    places b;
    AT_LEVEL(load)(o, n, at, x0, y0, &b);
    AT_LEVEL(collapse)(o->ids, o->ids_i, o->ids_j, o->ids_k, &b, s->ids);
    AT_LEVEL(collapse)(o->crv, o->crv_i, o->crv_j, o->crv_k, &b, s->crv);
    AT_LEVEL(plane)(o->xmap, o->map_i, o->map_j, &b, s->x);
    AT_LEVEL(plane)(o->ymap, o->map_i, o->map_j, &b, s->y);
}

static int AT_LEVEL(trace_points)(const roman_optics *o, int64_t n, const double *x0, const double *y0,
                                  const double *wavelength, double *x, double *y)
{
    for (int64_t at = 0; at < n; at += PLACES) {
        AT_LEVEL(sources) s;
        double w[PLACES], dy[PLACES], dx[PLACES];
        AT_LEVEL(prepare)(o, n, at, x0, y0, &s);
        for (int l = 0; l < PLACES; l++) w[l] = AT_LEVEL(transformed)(o, wavelength[at + l < n ? at + l : n - 1]);
        AT_LEVEL(series)(s.ids, o->ids_i, w, dy, NULL);
        AT_LEVEL(series)(s.crv, o->crv_i, dy, dx, NULL);
        for (int l = 0; l < PLACES && at + l < n; l++) {
            x[at + l] = AT_LEVEL(pixel_x)(o, s.x[l] + dx[l]);
            y[at + l] = AT_LEVEL(pixel_y)(o, s.y[l] + dy[l]);
        }
    }
    return ROMAN_OK;
}

static int AT_LEVEL(trace_slopes)(const roman_optics *o, int64_t n, const double *x0, const double *y0,
                                  const double *wavelength, double *x_slope, double *y_slope)
{
    for (int64_t at = 0; at < n; at += PLACES) {
        AT_LEVEL(sources) s;
        double w[PLACES], dy[PLACES], dx[PLACES], by_w[PLACES], by_dy[PLACES];
        AT_LEVEL(prepare)(o, n, at, x0, y0, &s);
        for (int l = 0; l < PLACES; l++) w[l] = AT_LEVEL(transformed)(o, wavelength[at + l < n ? at + l : n - 1]);
        AT_LEVEL(series)(s.ids, o->ids_i, w, dy, by_w);
        AT_LEVEL(series)(s.crv, o->crv_i, dy, dx, by_dy);
        for (int l = 0; l < PLACES && at + l < n; l++) {
            double by_wavelength = o->logarithmic ? 1 / (wavelength[at + l] * 2.302585092994045684) : 1;
            y_slope[at + l] = by_w[l] * by_wavelength * o->px_per_mm;
            x_slope[at + l] = -by_dy[l] * y_slope[at + l];
        }
    }
    return ROMAN_OK;
}

/* One source at the m wavelengths w, m a multiple of PLACES. */
static void AT_LEVEL(one_trace)(const roman_optics *o, const AT_LEVEL(sources) * s, int l, int64_t m,
                                const double *w, double *restrict x, double *restrict y)
{
    double ids[ROMAN_MAX_TERMS][PLACES], crv[ROMAN_MAX_TERMS][PLACES];
    for (int k = 0; k < PLACES; k++) {
        for (int i = 0; i < o->ids_i; i++) ids[i][k] = s->ids[i][l];
        for (int i = 0; i < o->crv_i; i++) crv[i][k] = s->crv[i][l];
    }
    for (int64_t at = 0; at < m; at += PLACES) {
        double dy[PLACES], dx[PLACES];
        AT_LEVEL(series)(ids, o->ids_i, w + at, dy, NULL);
        AT_LEVEL(series)(crv, o->crv_i, dy, dx, NULL);
        for (int k = 0; k < PLACES; k++) {
            x[at + k] = AT_LEVEL(pixel_x)(o, s->x[l] + dx[k]);
            y[at + k] = AT_LEVEL(pixel_y)(o, s->y[l] + dy[k]);
        }
    }
}

static int AT_LEVEL(trace_grid)(const roman_optics *o, int64_t n, const double *x0, const double *y0,
                                int64_t m, const double *wavelength, double *x, double *y)
{
    int64_t padded = (m + PLACES - 1) / PLACES * PLACES;
    double *w = calloc((size_t)(3 * padded + 1), sizeof *w), *px = w + padded, *py = px + padded;
    if (!w) return ROMAN_ERR_MEMORY;
    for (int64_t k = 0; k < m; k++) w[k] = AT_LEVEL(transformed)(o, wavelength[k]);
    for (int64_t at = 0; at < n && m > 0; at += PLACES) {
        AT_LEVEL(sources) s;
        AT_LEVEL(prepare)(o, n, at, x0, y0, &s);
        for (int l = 0; l < PLACES && at + l < n; l++) {
            AT_LEVEL(one_trace)(o, &s, l, padded, w, px, py);
            memcpy(x + (at + l) * m, px, (size_t)m * sizeof *px);
            memcpy(y + (at + l) * m, py, (size_t)m * sizeof *py);
        }
    }
    free(w);
    return ROMAN_OK;
}
