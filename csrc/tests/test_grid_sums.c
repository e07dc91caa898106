/* The matched filter on a grid: against star_sums at every point, the most significant exposure, edges, bits. */
#include "grid_sums.h"
#include "roman_status.h"
#include "scene.h"
#include "star_sums.h"

enum { BY = 2, BX = 3, BLOCK = 16, WIDTH = BX * BLOCK, HEIGHT = BY * BLOCK, PLANE = WIDTH * HEIGHT, POINTS = 4 * PLANE };

typedef struct {
    roman_psf_field field;
    roman_frame frame;
    float *residual, *weight, *signal;
    double dx[BY * BX], dy[BY * BX];
} scene;

static scene make_scene(roman_psf psf, uint64_t state)
{
    scene s = {.field = {psf, 1, 1, 1e9}, .frame = {HEIGHT - 3, WIDTH - 5, 24}};
    s.residual = scene_image(&s.frame, 0);
    s.weight = scene_image(&s.frame, 0);
    s.signal = scene_image(&s.frame, 0);
    int64_t stride = s.frame.nx + 2 * s.frame.pad;
    for (int y = 0; y < s.frame.ny; y++) {
        for (int x = 0; x < s.frame.nx; x++) {
            int64_t p = (y + s.frame.pad) * stride + x + s.frame.pad;
            s.residual[p] = (float)(check_uniform(&state) - 0.5);
            s.weight[p] = check_uniform(&state) < 0.1 ? 0 : 1 + (float)check_uniform(&state);
            s.signal[p] = s.residual[p] * s.weight[p];
        }
    }
    for (int b = 0; b < BY * BX; b++) {
        s.dx[b] = 0.37 + 0.01 * b;
        s.dy[b] = -1.21 + 0.02 * b;
    }
    return s;
}

static void free_scene(scene *s)
{
    free(s->residual);
    free(s->weight);
    free(s->signal);
}

static int add(const scene *s, float *sums, int level)
{
    return roman_grid_sums(&s->field, &s->frame, BY, BX, s->dx, s->dy, s->signal, s->weight, sums, sums + POINTS,
                           sums + 2 * POINTS, sums + 3 * POINTS, level);
}

static float *new_sums(void) { return check_alloc(4 * POINTS * sizeof(float)); }

static void test_against_star_sums(const scene *s)
{
    float *sums = new_sums();
    CHECK(add(s, sums, 0) == ROMAN_OK);
    int32_t half = 3;
    for (int k = 0; k < POINTS; k++) {
        int phase = k / PLANE, row = k % PLANE / WIDTH, col = k % WIDTH, block = row / BLOCK * BX + col / BLOCK;
        double x = col + 0.5 * (phase & 1) + s->dx[block], y = row + 0.5 * (phase >> 1) + s->dy[block], wanted[2];
        CHECK(roman_matched_sums(&s->field.psf, &s->frame, 1, &x, &y, &half, s->residual, s->weight, wanted, 0) ==
              ROMAN_OK);
        CHECK_CLOSE(sums[k], wanted[0], 2e-6);
        CHECK_CLOSE(sums[POINTS + k], wanted[1], 2e-6);
        CHECK(sums[2 * POINTS + k] == sums[k] && sums[3 * POINTS + k] == sums[POINTS + k]);
    }
    free(sums);
}

static void test_most_significant(const scene *s, const scene *other)
{
    float *one = new_sums(), *two = new_sums(), *both = new_sums();
    CHECK(add(s, one, 0) == ROMAN_OK && add(other, two, 0) == ROMAN_OK);
    CHECK(add(s, both, 0) == ROMAN_OK && add(other, both, 0) == ROMAN_OK);
    for (int k = 0; k < POINTS; k++) {
        CHECK_CLOSE(both[k], one[k] + two[k], 1e-6);
        float a = one[k], b = two[k], na = one[POINTS + k], nb = two[POINTS + k];
        int second = nb > 0 && (na == 0 || b * b * na > a * a * nb);
        CHECK(both[2 * POINTS + k] == (second ? b : a) && both[3 * POINTS + k] == (second ? nb : na));
    }
    free(one);
    free(two);
    free(both);
}

static void test_levels(const scene *s)
{
    float *first = new_sums(), *again = new_sums();
    CHECK(add(s, first, ROMAN_LEVEL_BASELINE) == ROMAN_OK);
    for (int level = ROMAN_LEVEL_BASELINE + 1; level <= ROMAN_LEVEL_V4; level++) {
        memset(again, 0, 4 * POINTS * sizeof *again);
        CHECK(add(s, again, level) == ROMAN_OK);
        CHECK(memcmp(first, again, 4 * POINTS * sizeof *first) == 0);
    }
    free(first);
    free(again);
}

/* Blocks off the padded image are left alone. */
static void test_edges(scene s)
{
    const double far[] = {-200, 200, 1e6, -1e18};
    float *sums = new_sums();
    for (int i = 0; i < 4; i++) {
        for (int b = 0; b < BY * BX; b++) s.dx[b] = far[i];
        CHECK(add(&s, sums, 0) == ROMAN_OK);
        for (int b = 0; b < BY * BX; b++) s.dx[b] = 0, s.dy[b] = far[i];
        CHECK(add(&s, sums, 0) == ROMAN_OK);
    }
    int touched = 0;
    for (int k = 0; k < 4 * POINTS; k++) touched += sums[k] != 0;
    CHECK(touched == 0);
    /* As far as a block may hang over without leaving the padding, and one pixel further. */
    for (int b = 0; b < BY * BX; b++) s.dx[b] = s.dy[b] = -(s.frame.pad - 3);
    CHECK(add(&s, sums, 0) == ROMAN_OK);
    for (int b = 0; b < BY * BX; b++) s.dx[b] = s.dy[b] = -(s.frame.pad - 2);
    CHECK(add(&s, sums, 0) == ROMAN_OK);
    free(sums);
}

static void test_refusals(scene s)
{
    float *sums = new_sums();
    s.dx[1] = NAN;
    CHECK(add(&s, sums, 0) == ROMAN_ERR_ARGUMENT);
    s.dx[1] = INFINITY;
    CHECK(add(&s, sums, 0) == ROMAN_ERR_ARGUMENT);
    s.dx[1] = 0;
    s.field.cells_x = 0;
    CHECK(add(&s, sums, 0) == ROMAN_ERR_ARGUMENT);
    s.field.cells_x = 1;
    s.field.psf.oversample = 0;
    CHECK(add(&s, sums, 0) == ROMAN_ERR_ARGUMENT);
    free(sums);
}

/* Each block takes the ePSF of the cell that its centre falls into. */
static void test_cells(const scene *s)
{
    const roman_psf psf = s->field.psf;
    size_t floats = (size_t)psf.oversample * psf.oversample * psf.plane_ny * psf.plane_nx;
    float *two = check_alloc(2 * floats * sizeof *two), *grid = new_sums(), *plain = new_sums();
    for (size_t k = 0; k < floats; k++) {
        two[k] = psf.coef[k];
        two[floats + k] = 2 * psf.coef[k];
    }
    scene cells = *s;
    cells.field = (roman_psf_field){psf, 1, 2, 2 * BLOCK};
    cells.field.psf.coef = two;
    CHECK(add(s, plain, 0) == ROMAN_OK && add(&cells, grid, 0) == ROMAN_OK);
    for (int k = 0; k < POINTS; k++) {
        int second = k % WIDTH >= 2 * BLOCK;
        CHECK_CLOSE(grid[k], (1 + second) * plain[k], 1e-5);
        CHECK_CLOSE(grid[POINTS + k], (second ? 4 : 1) * plain[POINTS + k], 1e-5);
    }
    free(two);
    free(grid);
    free(plain);
}

int main(void)
{
    float *memory;
    roman_psf psf = scene_psf(&memory);
    scene s = make_scene(psf, 1), other = make_scene(psf, 2);
    test_against_star_sums(&s);
    test_most_significant(&s, &other);
    test_levels(&s);
    test_edges(s);
    test_refusals(s);
    test_cells(&s);
    free_scene(&s);
    free_scene(&other);
    free(memory);
    return check_summary("test_grid_sums");
}
