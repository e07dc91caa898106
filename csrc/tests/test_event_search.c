/* Event search: recovery, outliers, masked points, block edges, gaps, refused arguments, equal bits. */
#include "check.h"
#include "event_search.h"
#include "roman_status.h"

static const roman_search_grid GRID = {0.02, 20, 4.0 / 3, 3, 5, 3};

typedef struct {
    int64_t n;
    double *t0, *teff, *dchi2, *without, *base, *height;
    int32_t *shape, *high, *run;
} output;

static output output_of(int64_t n)
{
    output o = {n, check_alloc(n * 8), check_alloc(n * 8), check_alloc(n * 8), check_alloc(n * 8),
                check_alloc(n * 8), check_alloc(n * 8), check_alloc(n * 4), check_alloc(n * 4),
                check_alloc(n * 4)};
    return o;
}

static void output_free(output *o)
{
    free(o->t0);
    free(o->teff);
    free(o->dchi2);
    free(o->without);
    free(o->base);
    free(o->height);
    free(o->shape);
    free(o->high);
    free(o->run);
}

static int run_search(const roman_search_grid *grid, int64_t epochs, const double *mjd, int64_t stars,
                      const float *flux, const float *error, output *o, int level)
{
    return roman_event_search(grid, epochs, mjd, stars, flux, error, o->t0, o->teff, o->shape,
                              o->dchi2, o->without, o->base, o->height, o->high, o->run, level);
}

/* Star s has a brightening at day 2 + s / 10 on a noisy constant; 70 stars: more than one block. */
static void test_recovery_and_bits(void)
{
    enum { EPOCHS = 500, STARS = 70 };
    double *mjd = check_alloc(EPOCHS * sizeof *mjd);
    float *flux = check_alloc(EPOCHS * STARS * sizeof *flux);
    float *error = check_alloc(EPOCHS * STARS * sizeof *error);
    uint64_t state = 7;
    for (int e = 0; e < EPOCHS; e++) mjd[e] = 60000 + 0.02 * e + (e >= 300 ? 40 : 0);
    for (int s = 0; s < STARS; s++) {
        for (int e = 0; e < EPOCHS; e++) {
            double x = (mjd[e] - 60002 - 0.04 * s) / 0.3;
            double noise = check_uniform(&state) + check_uniform(&state) - 1;
            flux[s * EPOCHS + e] = (float)(100 + 300 / sqrt(1 + x * x) + 2 * noise);
            error[s * EPOCHS + e] = e % 7 ? 1.0f : NAN;
        }
    }
    for (int e = 0; e < EPOCHS; e++) {
        flux[3 * EPOCHS + e] = NAN;    /* no data at all */
        flux[4 * EPOCHS + e] = 100.0f; /* nothing happens */
    }
    output a = output_of(STARS), b = output_of(STARS), one = output_of(1);
    CHECK(run_search(&GRID, EPOCHS, mjd, STARS, flux, error, &a, 0) == ROMAN_OK);
    for (int s = 0; s < STARS; s++) {
        if (s == 3 || s == 4) {
            CHECK(a.shape[s] == 0 && isnan(a.t0[s]) && a.dchi2[s] == 0);
            continue;
        }
        CHECK_CLOSE(a.t0[s], 60002 + 0.04 * s, 0.1);
        /* The wings of the event reach past any window: longer templates do nearly as well. */
        CHECK(a.teff[s] > 0.15 && a.teff[s] < 0.9);
        CHECK(a.without[s] > 1e4 && a.without[s] <= a.dchi2[s]);
        CHECK(a.run[s] > 20 && a.run[s] <= a.high[s]);
    }
    for (int level = 1; level <= 3; level++) {
        CHECK(run_search(&GRID, EPOCHS, mjd, STARS, flux, error, &b, level) == ROMAN_OK);
        CHECK(!memcmp(a.t0, b.t0, STARS * 8) && !memcmp(a.teff, b.teff, STARS * 8));
        CHECK(!memcmp(a.dchi2, b.dchi2, STARS * 8) && !memcmp(a.without, b.without, STARS * 8));
        CHECK(!memcmp(a.base, b.base, STARS * 8) && !memcmp(a.run, b.run, STARS * 4));
    }
    /* A star does not depend on its neighbours. */
    CHECK(run_search(&GRID, EPOCHS, mjd, 1, flux + 66 * EPOCHS, error + 66 * EPOCHS, &one, 0) ==
          ROMAN_OK);
    CHECK(one.t0[0] == a.t0[66] && one.dchi2[0] == a.dchi2[66] && one.without[0] == a.without[66]);
    output_free(&a);
    output_free(&b);
    output_free(&one);
    free(mjd);
    free(flux);
    free(error);
}

/* A single bright exposure leaves nothing without itself, and loses against a real, weaker event. */
static void test_outlier(void)
{
    enum { EPOCHS = 200 };
    double mjd[EPOCHS];
    float flux[EPOCHS], error[EPOCHS];
    for (int e = 0; e < EPOCHS; e++) {
        mjd[e] = 0.1 * e;
        flux[e] = e >= 100 && e < 108 ? 10 + 6 : 10;
        error[e] = 1;
    }
    flux[30] = 200;
    output o = output_of(1);
    CHECK(run_search(&GRID, EPOCHS, mjd, 1, flux, error, &o, 0) == ROMAN_OK);
    CHECK_CLOSE(o.t0[0], 10.35, 0.4);
    for (int e = 100; e < 108; e++) flux[e] = 10;
    CHECK(run_search(&GRID, EPOCHS, mjd, 1, flux, error, &o, 0) == ROMAN_OK);
    CHECK(o.without[0] < 1);
    output_free(&o);
}

static void test_small_and_refused(void)
{
    double mjd[3] = {1, 2, 3}, unordered[3] = {1, 3, 2}, bad[3] = {1, NAN, 3};
    float flux[3] = {1, 5, 1}, error[3] = {1, 1, 1};
    output o = output_of(1);
    for (int64_t n = 1; n <= 3; n++) {
        CHECK(run_search(&GRID, n, mjd, 1, flux, error, &o, 0) == ROMAN_OK);
        CHECK(o.without[0] == 0 || o.shape[0] != 0);
    }
    CHECK(run_search(&GRID, 3, mjd, 0, flux, error, &o, 0) == ROMAN_OK);
    CHECK(run_search(&GRID, 3, unordered, 1, flux, error, &o, 0) == ROMAN_ERR_ARGUMENT);
    CHECK(run_search(&GRID, 3, bad, 1, flux, error, &o, 0) == ROMAN_ERR_ARGUMENT);
    CHECK(run_search(&GRID, 0, mjd, 1, flux, error, &o, 0) == ROMAN_ERR_ARGUMENT);
    roman_search_grid grid = GRID;
    grid.teff_min = 0;
    CHECK(run_search(&grid, 3, mjd, 1, flux, error, &o, 0) == ROMAN_ERR_ARGUMENT);
    grid = GRID;
    grid.teff_ratio = 1;
    CHECK(run_search(&grid, 3, mjd, 1, flux, error, &o, 0) == ROMAN_ERR_ARGUMENT);
    output_free(&o);
}

int main(void)
{
    test_recovery_and_bits();
    test_outlier();
    test_small_and_refused();
    return check_summary("event_search");
}
