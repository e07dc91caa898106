#include "check.h"

#include "dispatch.h"
#include "optical_model.h"
#include "roman_status.h"

/* xmap = 3 p, ymap = 2 q + 1, Dy = 5 w + p w^2, Dx = 0.1 Dy + 0.01 q Dy^2; evaluated by hand below. */
static const double xmap[] = {0, 0, 3, 0}, ymap[] = {1, 2, 0, 0};
static const double ids[] = {0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 1, 0}, crv[] = {0, 0, 0, 0, 0.1, 0, 0, 0, 0, 0.01, 0, 0};

static roman_optics optics_of(int logarithmic)
{
    return (roman_optics){xmap, ymap, ids, crv, 2, 2, 3, 2, 2, 3, 2, 2, logarithmic, 1.5, 100, 200, 4, -2, 10, 0.1};
}

static void by_hand(const roman_optics *o, double x0, double y0, double wavelength, double *x, double *y)
{
    double p = (4 * 10 + 100 - x0) * 0.1, q = (-2 * 10 + y0 - 200) * 0.1;
    double w = o->logarithmic ? log10(wavelength / 1.5) : wavelength - 1.5;
    double dy = 5 * w + p * w * w, dx = 0.1 * dy + 0.01 * q * dy * dy;
    *x = (4 - (3 * p + dx)) * 10 + 100;
    *y = (2 * q + 1 + dy + 2) * 10 + 200;
}

static void test_values(void)
{
    enum { N = 37, M = 21 };
    double x0[N], y0[N], wave[M], x[N * M], y[N * M], px, py;
    uint64_t state = 1;
    for (int logarithmic = 0; logarithmic < 2; logarithmic++) {
        roman_optics o = optics_of(logarithmic);
        for (int i = 0; i < N; i++) {
            x0[i] = 200 * check_uniform(&state);
            y0[i] = 400 * check_uniform(&state);
        }
        for (int k = 0; k < M; k++) wave[k] = 0.8 + 1.2 * k / M;
        CHECK(roman_trace_grid(&o, N, x0, y0, M, wave, x, y, 0) == ROMAN_OK);
        for (int i = 0; i < N; i++) {
            for (int k = 0; k < M; k++) {
                by_hand(&o, x0[i], y0[i], wave[k], &px, &py);
                CHECK_CLOSE(x[i * M + k], px, 1e-9);
                CHECK_CLOSE(y[i * M + k], py, 1e-9);
            }
        }
        double at[M], ax[M], ay[M], sx[M], sy[M], hx[M], hy[M], up[M];
        for (int k = 0; k < M; k++) {
            at[k] = x0[k];
            up[k] = wave[k] + 1e-6;
        }
        CHECK(roman_trace_points(&o, M, at, y0, wave, ax, ay, 0) == ROMAN_OK);
        CHECK(roman_trace_points(&o, M, at, y0, up, hx, hy, 0) == ROMAN_OK);
        CHECK(roman_trace_slopes(&o, M, at, y0, wave, sx, sy, 0) == ROMAN_OK);
        for (int k = 0; k < M; k++) {
            CHECK(ax[k] == x[k * M + k] && ay[k] == y[k * M + k]);
            CHECK_CLOSE(sx[k], (hx[k] - ax[k]) / 1e-6, 1e-3 * (1 + fabs(sx[k])));
            CHECK_CLOSE(sy[k], (hy[k] - ay[k]) / 1e-6, 1e-3 * (1 + fabs(sy[k])));
        }
    }
}

static void test_levels_and_refused(void)
{
    enum { N = 19 };
    double x0[N], y0[N], wave[N], x[N], y[N], u[N], v[N];
    roman_optics o = optics_of(1);
    for (int i = 0; i < N; i++) {
        x0[i] = 7.3 * i;
        y0[i] = 11.1 * i;
        wave[i] = 0.9 + 0.05 * i;
    }
    CHECK(roman_trace_points(&o, N, x0, y0, wave, x, y, ROMAN_LEVEL_BASELINE) == ROMAN_OK);
    for (int level = ROMAN_LEVEL_V3; level <= ROMAN_LEVEL_V4; level++) {
        CHECK(roman_trace_points(&o, N, x0, y0, wave, u, v, level) == ROMAN_OK);
        CHECK(memcmp(x, u, sizeof x) == 0 && memcmp(y, v, sizeof y) == 0);
    }
    CHECK(roman_trace_points(&o, 0, x0, y0, wave, x, y, 0) == ROMAN_OK);
    CHECK(roman_trace_points(&o, -1, x0, y0, wave, x, y, 0) == ROMAN_ERR_ARGUMENT);
    CHECK(roman_trace_grid(&o, 1, x0, y0, -1, wave, x, y, 0) == ROMAN_ERR_ARGUMENT);
    o.ids_j = ROMAN_MAX_TERMS + 1;
    CHECK(roman_trace_slopes(&o, N, x0, y0, wave, x, y, 0) == ROMAN_ERR_ARGUMENT);
    o = optics_of(0);
    o.px_per_mm = 0;
    CHECK(roman_trace_points(&o, N, x0, y0, wave, x, y, 0) == ROMAN_ERR_ARGUMENT);
}

int main(void)
{
    test_values();
    test_levels_and_refused();
    return check_summary("test_optical_model");
}
