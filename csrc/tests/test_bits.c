/* The same bits at every vector level and on every architecture: a hash of a rendered scene and of its joint
 * fit. The scene uses only operations that IEEE 754 rounds one way (no exp, no libm but sqrt, floor and fma).
 * A deliberate change of a kernel changes the hash: it is then written anew, with a new code version. */
#include "check.h"
#include "joint_fit.h"
#include "roman_status.h"
#include "star_sums.h"

#define EXPECTED_HASH 0x506b7b0999c31a9eUL
enum { STARS = 200, SIDE = 64, PAD = 40, STRIDE = SIDE + 2 * PAD, PIXELS = STRIDE * STRIDE };
enum { OVERSAMPLE = 4, ORIGIN = 67 * OVERSAMPLE, PLANE = 2 * 67 + 12 };

static uint64_t mixed(uint64_t hash, const void *data, size_t bytes)
{
    const unsigned char *byte = data;
    for (size_t i = 0; i < bytes; i++) hash = (hash ^ byte[i]) * 1099511628211UL; /* FNV-1a */
    return hash;
}

static double uniform(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) / 16777216.0;
}

static roman_psf rational_psf(void)
{
    float *coef = check_alloc((size_t)OVERSAMPLE * OVERSAMPLE * PLANE * PLANE * sizeof *coef);
    for (int gy = -60; gy <= 60; gy++) {
        for (int gx = -60; gx <= 60; gx++) {
            int y = ORIGIN + gy, x = ORIGIN + gx;
            double r2 = (gy * gy + gx * gx) / 16.0;
            size_t phase = (size_t)(y % OVERSAMPLE) * OVERSAMPLE + x % OVERSAMPLE;
            coef[phase * PLANE * PLANE + (size_t)(y / OVERSAMPLE) * PLANE + x / OVERSAMPLE] =
                (float)(0.3 / (1 + r2 * r2));
        }
    }
    return (roman_psf){coef, OVERSAMPLE, PLANE, PLANE, ORIGIN};
}

static uint64_t hash_at(int level)
{
    roman_psf psf = rational_psf();
    roman_frame frame = {SIDE, SIDE, PAD};
    float *data = check_alloc(PIXELS * sizeof *data), *weight = check_alloc(PIXELS * sizeof *weight);
    float *basis = check_alloc(PIXELS * sizeof *basis), *residual = check_alloc(PIXELS * sizeof *residual);
    double x[STARS], y[STARS], flux[STARS], error[STARS], sky[1];
    int32_t half[STARS];
    float chi2[STARS];
    unsigned state = 12345;
    for (int i = 0; i < STARS; i++) {
        x[i] = uniform(&state) * 63;
        y[i] = uniform(&state) * 63;
        flux[i] = 10 + uniform(&state) * 500;
        half[i] = i % 7 ? 3 : 11;
    }
    CHECK(roman_render(&psf, &frame, STARS, x, y, half, flux, data, level) == ROMAN_OK);
    uint64_t hash = mixed(1469598103934665603UL, data, PIXELS * sizeof *data);
    for (int row = 0; row < SIDE; row++) {
        for (int col = 0; col < SIDE; col++) {
            int p = (row + PAD) * STRIDE + col + PAD;
            data[p] += 2 + (float)uniform(&state);
            weight[p] = 1 / (0.1f + 0.01f * data[p]);
            basis[p] = 1;
        }
    }
    for (int i = 0; i < STARS; i++) flux[i] = 50;
    roman_joint_options options = {.tolerance = 1e-4, .max_iterations = 300, .n_sky = 1, .core_half = 2};
    CHECK(roman_joint_fit(&psf, &frame, 1, STARS, x, y, half, data, weight, basis, flux, error, chi2,
                          sky, residual, &options, level) == ROMAN_OK);
    hash = mixed(hash, flux, sizeof flux);
    hash = mixed(hash, error, sizeof error);
    hash = mixed(hash, chi2, sizeof chi2);
    hash = mixed(hash, residual, PIXELS * sizeof *residual);
    hash = mixed(hash, sky, sizeof sky);
    free((void *)psf.coef);
    free(data);
    free(weight);
    free(basis);
    free(residual);
    return hash;
}

int main(void)
{
    for (int level = ROMAN_LEVEL_BASELINE; level <= ROMAN_LEVEL_V4; level++) {
        uint64_t hash = hash_at(level);
        CHECK(hash == EXPECTED_HASH);
        if (hash != EXPECTED_HASH) fprintf(stderr, "level %d: %016lx\n", level, (unsigned long)hash);
    }
    return check_summary("test_bits");
}
