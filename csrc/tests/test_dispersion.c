#include "check.h"

#include "dispatch.h"
#include "dispersion.h"
#include "polygon_clip.h"
#include "roman_status.h"

enum { BINS = 40, SIDE = 9, WIDTH = 16, OVER = 2, PLANES = 2, ROWS = 60, COLUMNS = 48 };

/* A profile whose phases all have the sum 1 in every plane. */
static float *profile_of(roman_profile *p)
{
    int64_t size = SIDE * WIDTH;
    float *stamps = check_alloc((size_t)(PLANES * OVER * OVER * size) * sizeof *stamps);
    uint64_t state = 5;
    for (int s = 0; s < PLANES * OVER * OVER; s++) {
        double sum = 0;
        for (int i = 0; i < size; i++) {
            stamps[s * size + i] = i % WIDTH < SIDE ? (float)check_uniform(&state) : 0;
            sum += (double)stamps[s * size + i];
        }
        for (int i = 0; i < size; i++) stamps[s * size + i] = (float)((double)stamps[s * size + i] / sum);
    }
    *p = (roman_profile){stamps, PLANES, OVER, OVER, SIDE, WIDTH, -4, -4, NULL, 0, NULL, NULL};
    return stamps;
}

typedef struct {
    double x[BINS + 1], y[BINS + 1], share[BINS], light[BINS];
    int32_t plane[BINS];
    roman_trace trace;
} line;

static void line_of(line *l, double slope, double step)
{
    for (int b = 0; b <= BINS; b++) {
        l->y[b] = 15.2 + step * b;
        l->x[b] = 20.3 + slope * b;
    }
    for (int b = 0; b < BINS; b++) {
        l->plane[b] = 0;
        l->share[b] = (b + 0.5) / BINS;
        l->light[b] = 1 + b % 7;
    }
    l->trace = (roman_trace){BINS, l->x, l->y, l->plane, l->share};
}

static void check_flux_and_adjoint(roman_profile p, double slope, double step, int keeps_flux)
{
    line l;
    float *image = check_alloc(ROWS * COLUMNS * sizeof *image), *other = check_alloc(ROWS * COLUMNS * sizeof *other);
    roman_cutout box = {0, 0, ROWS, COLUMNS};
    double sum = 0, expected = 0, forward = 0, back = 0, gathered[BINS];
    uint64_t state = 3;
    line_of(&l, slope, step);
    memset(image, 0, ROWS * COLUMNS * sizeof *image);
    CHECK(roman_disperse(&p, &l.trace, l.light, &box, image, 0) == ROMAN_OK);
    for (int b = 0; b < BINS; b++) expected += l.light[b];
    for (int i = 0; i < ROWS * COLUMNS; i++) sum += (double)image[i];
    if (keeps_flux) CHECK_CLOSE(sum, expected, 1e-5 * expected);
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        other[i] = (float)check_uniform(&state);
        forward += (double)image[i] * (double)other[i];
    }
    CHECK(roman_disperse_adjoint(&p, &l.trace, other, &box, gathered, 0) == ROMAN_OK);
    for (int b = 0; b < BINS; b++) back += gathered[b] * l.light[b];
    CHECK_CLOSE(back, forward, 1e-5 * fabs(forward));
    free(image);
    free(other);
}

static void test_flux_and_adjoint(void)
{
    roman_profile p;
    float *stamps = profile_of(&p);
    const double slopes[] = {0, 0.02, -0.15, 0.3}, steps[] = {0.5, 0.7, -0.2, 0.0};
    for (int k = 0; k < 4; k++) check_flux_and_adjoint(p, slopes[k], steps[k], 1);
    for (int k = 0; k < 3; k++) {
        /* The rows of this profile's phases do not agree: drawn row by row, it does not keep the light of a bent trace. */
        double along[PLANES] = {slopes[k] / steps[k], slopes[k] / steps[k]};
        p.slopes = along;
        check_flux_and_adjoint(p, slopes[k], steps[k], slopes[k] == 0);
    }
    free(stamps);
}

enum { RANK = 4, TAPS = 12 }; /* rows of factors: SIDE, up to a multiple of ROMAN_FACTORS */

/* Random factors, and the stamps that are their products, each sample's row of a sum that all phases have. */
static float *factored_profile_of(roman_profile *p, float **along, float **across)
{
    int64_t size = SIDE * WIDTH;
    float *stamps = profile_of(p);
    uint64_t state = 11;
    *along = check_alloc(PLANES * OVER * TAPS * RANK * sizeof **along);
    *across = check_alloc(RANK * OVER * WIDTH * sizeof **across);
    for (int i = 0; i < RANK * OVER * WIDTH; i++) (*across)[i] = i % WIDTH < SIDE ? (float)check_uniform(&state) : 0;
    for (int r = 0; r < RANK * OVER; r++) {
        double sum = 0;
        for (int i = 0; i < SIDE; i++) sum += (double)(*across)[r * WIDTH + i];
        for (int i = 0; i < SIDE; i++) (*across)[r * WIDTH + i] = (float)((double)(*across)[r * WIDTH + i] / sum);
    }
    for (int i = 0; i < PLANES * OVER * TAPS * RANK; i++) {
        (*along)[i] = i / RANK % TAPS < SIDE ? (float)(check_uniform(&state) / (SIDE * RANK) * 2) : 0;
    }
    for (int k = 0; k < PLANES * OVER * OVER; k++) {
        for (int64_t i = 0; i < size; i++) {
            const float *factor = *along + (k / OVER * TAPS + i / WIDTH) * RANK;
            double sum = 0;
            for (int r = 0; r < RANK; r++) {
                sum += (double)factor[r] * (double)(*across)[(r * OVER + k % OVER) * WIDTH + i % WIDTH];
            }
            stamps[k * size + i] = (float)sum;
        }
    }
    return stamps;
}

static void compare(const roman_profile *p, const roman_profile *factors, double slope, double step, roman_cutout box,
                    int planes)
{
    line l;
    int64_t size = (int64_t)box.ny * box.nx;
    float *image = check_alloc((size_t)size * sizeof *image), *other = check_alloc((size_t)size * sizeof *other);
    double light[BINS], same[BINS];
    line_of(&l, slope, step);
    for (int b = 0; b < BINS && planes == 1; b++) l.share[b] = 0;
    memset(image, 0, (size_t)size * sizeof *image);
    memset(other, 0, (size_t)size * sizeof *other);
    CHECK(roman_disperse(p, &l.trace, l.light, &box, image, 0) == ROMAN_OK);
    CHECK(roman_disperse(factors, &l.trace, l.light, &box, other, 0) == ROMAN_OK);
    for (int64_t i = 0; i < size; i++) CHECK_CLOSE((double)image[i], (double)other[i], 2e-6);
    CHECK(roman_disperse_adjoint(p, &l.trace, image, &box, light, 0) == ROMAN_OK);
    CHECK(roman_disperse_adjoint(factors, &l.trace, image, &box, same, 0) == ROMAN_OK);
    for (int b = 0; b < BINS; b++) CHECK_CLOSE(light[b], same[b], 1e-5);
    free(image);
    free(other);
}

/* Factors give the image of the stamps that are their products, whatever part of it lies in the cut-out. */
static void test_factors(void)
{
    roman_profile p, factors;
    float *along, *across, *stamps = factored_profile_of(&p, &along, &across);
    const double slopes[] = {0, 0.02, -0.15, 0.3}, steps[] = {0.5, 0.7, -0.2, -1.7};
    const roman_cutout boxes[] = {{0, 0, ROWS, COLUMNS}, {17, 19, 6, 5}, {20, 0, 3, 22}, {14, 23, 1, 60}, {-90, 0, 4, 48},
                                  {0, -300, ROWS, 48}, {-100, -100, 300, 300}};
    for (int k = 0; k < 4; k++) {
        double slope[PLANES] = {slopes[k] / steps[k], slopes[k] / steps[k]};
        p.slopes = slope;
        factors = p;
        factors.rank = RANK;
        factors.along = along;
        factors.across = across;
        for (int b = 0; b < (int)(sizeof boxes / sizeof *boxes); b++) {
            for (int n = 1; n <= PLANES; n++) compare(&p, &factors, slopes[k], steps[k], boxes[b], n);
        }
        check_flux_and_adjoint(factors, slopes[k], steps[k], 0);
    }
    line l;
    double light[BINS];
    line_of(&l, slopes[3], steps[3]);
    const double slope[PLANES] = {slopes[3] / steps[3], slopes[3] / steps[3]};
    factors.slopes = NULL;
    CHECK(roman_disperse_adjoint(&factors, &l.trace, stamps, boxes + 3, light, 0) == ROMAN_ERR_ARGUMENT);
    factors.slopes = slope;
    CHECK(roman_disperse_adjoint(&factors, &l.trace, stamps, boxes + 3, light, 0) == ROMAN_OK);
    factors.rank = 3;
    CHECK(roman_disperse_adjoint(&factors, &l.trace, stamps, boxes + 3, light, 0) == ROMAN_ERR_ARGUMENT);
    free(stamps);
    free(along);
    free(across);
}

/* The light of bins of any length arrives, also if some of them have none. */
static void test_long_bins(void)
{
    enum { TALL = 340 };
    roman_profile p;
    roman_cutout box = {-TALL / 2, 0, TALL, COLUMNS};
    float *stamps = profile_of(&p), *image = check_alloc(TALL * COLUMNS * sizeof *image);
    const double steps[] = {0.3, -0.3, 0.59, 0.61, 0.9, -0.9, 1.3, -1.3, 2.1, -2.1, 3.3, -3.3};
    const double along[PLANES] = {0, 0};
    p.slopes = along;
    for (int k = 0; k < (int)(sizeof steps / sizeof *steps); k++) {
        line l;
        double sum = 0, expected = 0;
        line_of(&l, 0, steps[k]);
        for (int b = 0; b < BINS; b++) {
            if (b % 5 == k % 5 || (b > 8 && b < 26)) l.light[b] = 0;
            expected += l.light[b];
        }
        memset(image, 0, TALL * COLUMNS * sizeof *image);
        CHECK(roman_disperse(&p, &l.trace, l.light, &box, image, 0) == ROMAN_OK);
        for (int i = 0; i < TALL * COLUMNS; i++) sum += (double)image[i];
        CHECK_CLOSE(sum, expected, 1e-5 * expected);
    }
    free(stamps);
    free(image);
}

/* A profile sheared for one trace is refused for another, and for one along the rows. */
static void test_sheared_for_another(void)
{
    roman_profile p;
    line l;
    float *stamps = profile_of(&p), *image = check_alloc(ROWS * COLUMNS * sizeof *image);
    roman_cutout box = {0, 0, ROWS, COLUMNS};
    const double along[PLANES] = {0.1, 0.1}, slopes[] = {0.05, 0.0515, 0.05, 0.3}, steps[] = {0.5, 0.5, -0.5, 0.0};
    p.slopes = along;
    for (int k = 0; k < 4; k++) {
        line_of(&l, slopes[k], steps[k]);
        int status = roman_disperse(&p, &l.trace, l.light, &box, image, 0);
        CHECK(status == (k < 2 ? ROMAN_OK : ROMAN_ERR_ARGUMENT));
    }
    line_of(&l, 0.06, 0.5);
    CHECK(roman_disperse(&p, &l.trace, l.light, &box, image, 0) == ROMAN_ERR_ARGUMENT);
    free(stamps);
    free(image);
}

/* Rows that are cut off are those of the whole image; light beyond the columns is refused. */
static void test_cutouts(void)
{
    roman_profile p;
    line l;
    float *stamps = profile_of(&p), *image = check_alloc(ROWS * COLUMNS * sizeof *image);
    float *part = check_alloc(10 * COLUMNS * sizeof *part);
    roman_cutout whole = {0, 0, ROWS, COLUMNS}, rows = {18, 0, 10, COLUMNS}, narrow = {0, 0, ROWS, 20};
    roman_cutout beyond = {500, 0, 10, COLUMNS}, none = {0, 0, 0, COLUMNS};
    line_of(&l, 0.05, 0.5);
    CHECK(roman_disperse(&p, &l.trace, l.light, &whole, image, 0) == ROMAN_OK);
    CHECK(roman_disperse(&p, &l.trace, l.light, &rows, part, 0) == ROMAN_OK);
    CHECK(memcmp(image + 18 * COLUMNS, part, 10 * COLUMNS * sizeof *part) == 0);
    memset(part, 0, 10 * COLUMNS * sizeof *part);
    CHECK(roman_disperse(&p, &l.trace, l.light, &beyond, part, 0) == ROMAN_OK);
    for (int i = 0; i < 10 * COLUMNS; i++) CHECK(part[i] == 0);
    CHECK(roman_disperse(&p, &l.trace, l.light, &none, part, 0) == ROMAN_OK);
    CHECK(roman_disperse(&p, &l.trace, l.light, &narrow, image, 0) == ROMAN_ERR_ARGUMENT);
    free(stamps);
    free(image);
    free(part);
}

static void test_refused(void)
{
    roman_profile p;
    line l;
    float *stamps = profile_of(&p), *image = check_alloc(ROWS * COLUMNS * sizeof *image);
    roman_cutout box = {0, 0, ROWS, COLUMNS};
    line_of(&l, 0.05, 0.5);
    const double bad[] = {NAN, INFINITY, 1e30, -1e30};
    for (int k = 0; k < 4; k++) {
        double keep = l.y[3];
        l.y[3] = bad[k];
        CHECK(roman_disperse(&p, &l.trace, l.light, &box, image, 0) == ROMAN_ERR_ARGUMENT);
        l.y[3] = keep;
        keep = l.share[3];
        l.share[3] = bad[k];
        CHECK(roman_disperse(&p, &l.trace, l.light, &box, image, 0) == ROMAN_ERR_ARGUMENT);
        l.share[3] = keep;
    }
    l.plane[5] = 1; /* its next plane does not exist */
    CHECK(roman_disperse(&p, &l.trace, l.light, &box, image, 0) == ROMAN_ERR_ARGUMENT);
    l.plane[5] = -1;
    CHECK(roman_disperse(&p, &l.trace, l.light, &box, image, 0) == ROMAN_ERR_ARGUMENT);
    l.plane[5] = 0;
    p.nx = 15;
    CHECK(roman_disperse(&p, &l.trace, l.light, &box, image, 0) == ROMAN_ERR_ARGUMENT);
    p.nx = WIDTH;
    CHECK(roman_disperse(&p, &l.trace, l.light, &box, image, 0) == ROMAN_OK);
    free(stamps);
    free(image);
}

static void test_levels(void)
{
    roman_profile p;
    line l;
    float *stamps = profile_of(&p), *base = check_alloc(ROWS * COLUMNS * sizeof *base);
    double light[BINS], same[BINS];
    roman_cutout box = {0, 0, ROWS, COLUMNS};
    line_of(&l, 0.11, 0.61);
    CHECK(roman_disperse(&p, &l.trace, l.light, &box, base, ROMAN_LEVEL_BASELINE) == ROMAN_OK);
    CHECK(roman_disperse_adjoint(&p, &l.trace, base, &box, light, ROMAN_LEVEL_BASELINE) == ROMAN_OK);
    for (int level = ROMAN_LEVEL_V3; level <= ROMAN_LEVEL_V4; level++) {
        float *wide = check_alloc(ROWS * COLUMNS * sizeof *wide);
        CHECK(roman_disperse(&p, &l.trace, l.light, &box, wide, level) == ROMAN_OK);
        CHECK(memcmp(base, wide, ROWS * COLUMNS * sizeof *wide) == 0);
        CHECK(roman_disperse_adjoint(&p, &l.trace, base, &box, same, level) == ROMAN_OK);
        CHECK(memcmp(light, same, sizeof light) == 0);
        free(wide);
    }
    free(stamps);
    free(base);
}

/* A square and a diamond on pixels whose overlaps are known by hand. */
static void test_clip(void)
{
    const double x[] = {0.5, 1.5, 1.5, 0.5, 1, 2, 1, 0}, y[] = {0.25, 0.25, 1.25, 1.25, 0, 1, 2, 1};
    int64_t start[3];
    int32_t row[64], column[64];
    double area[64], sums[2] = {0, 0};
    CHECK(roman_clip_sizes(2, x, y, 5, 5, start) == ROMAN_OK);
    CHECK(start[2] <= 64);
    CHECK(roman_clip_areas(2, x, y, 5, 5, start, row, column, area) == ROMAN_OK);
    for (int q = 0; q < 2; q++) {
        for (int64_t i = start[q]; i < start[q + 1]; i++) {
            sums[q] += area[i];
            if (q == 0 && column[i] == 1 && row[i] == 0) CHECK_CLOSE(area[i], 0.25, 1e-15);
            if (q == 0 && column[i] == 1 && row[i] == 1) CHECK_CLOSE(area[i], 0.75, 1e-15);
            if (q == 1 && column[i] == 1 && row[i] == 1) CHECK_CLOSE(area[i], 1.0, 1e-15);
            if (q == 1 && column[i] == 0 && row[i] == 1) CHECK_CLOSE(area[i], 0.25, 1e-15);
        }
    }
    CHECK_CLOSE(sums[0], 1.0, 1e-15);
    CHECK_CLOSE(sums[1], 2.0, 1e-15);
    const double nowhere[] = {NAN, 0, 0, 0};
    CHECK(roman_clip_areas(1, nowhere, y, 5, 5, start, row, column, area) == ROMAN_ERR_ARGUMENT);
}

int main(void)
{
    test_flux_and_adjoint();
    test_factors();
    test_long_bins();
    test_sheared_for_another();
    test_cutouts();
    test_refused();
    test_levels();
    test_clip();
    return check_summary("test_dispersion");
}
