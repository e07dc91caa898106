#define _DEFAULT_SOURCE /* madvise */
#include "exposure_work.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#endif

#include "parallel.h"
#include "roman_status.h"

/* Memory set to zero, in large pages where there is much of it: a detector's stamps take over a gigabyte, and
 * touching them in small pages costs as much as the fit. */
static void *take(exposure_work *k, int64_t count, size_t size)
{
    size_t bytes = ((size_t)count + LANES) * size, page = (size_t)1 << 21;
    k->bytes += (int64_t)bytes;
    if (bytes < 4 * page) return calloc(1, bytes);
    bytes = (bytes + page - 1) / page * page;
    void *memory = aligned_alloc(page, bytes);
    if (!memory) return NULL;
#ifdef MADV_HUGEPAGE
    madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return memset(memory, 0, bytes);
}

static int64_t cell_index(const exposure_work *k, int64_t ix, int64_t iy)
{
    return clip(iy / CELL, k->cells_y - 1) * k->cells_x + clip(ix / CELL, k->cells_x - 1);
}

/* Stars in the order of their cells: what lies together on the sky lies together in memory. */
static int sort_stars(exposure_work *k, const roman_frame *frame, const double *x, const double *y)
{
    int64_t cells = k->cells_x * k->cells_y;
    int64_t *cell = malloc((size_t)k->n * sizeof *cell);
    if (!cell) return ROMAN_ERR_MEMORY;
    for (int64_t i = 0; i < k->n; i++) {
        cell[i] = cell_index(k, (int64_t)floor(x[i] + 0.5) + frame->pad, (int64_t)floor(y[i] + 0.5) + frame->pad);
        k->cell_start[cell[i] + 2]++;
    }
    for (int64_t c = 2; c < cells + 2; c++) k->cell_start[c] += k->cell_start[c - 1];
    for (int64_t i = 0; i < k->n; i++) k->order[k->cell_start[cell[i] + 1]++] = i;
    free(cell);
    return ROMAN_OK;
}

static int place_stars(exposure_work *k, const roman_frame *frame, const double *x, const double *y,
                       const int32_t *half, const double *expected)
{
    int64_t floats = 0;
    for (int64_t s = 0; s < k->n; s++) {
        int64_t i = k->order[s];
        k->x[s] = x[i];
        k->y[s] = y[i];
        k->half[s] = half[i];
        k->expected[s] = expected[i];
        k->ix[s] = (int32_t)floor(x[i] + 0.5) + frame->pad;
        k->iy[s] = (int32_t)floor(y[i] + 0.5) + frame->pad;
        k->corner[s] = (k->iy[s] - half[i]) * k->stride + k->ix[s] - half[i];
        k->offset[s] = floats;
        floats += (int64_t)(2 * half[i] + 1) * (2 * half[i] + 2);
        if (half[i] > k->max_half) k->max_half = half[i];
    }
    k->stamps = take(k, floats, sizeof *k->stamps);
    k->cores = take(k, k->n * CORE_FLOATS, sizeof *k->cores);
    return k->stamps && k->cores ? ROMAN_OK : ROMAN_ERR_MEMORY;
}

/* Visits the neighbours of star s; writes them where `column` is given. Returns how many. */
static int64_t neighbours(const exposure_work *k, int64_t s, int32_t *column)
{
    int64_t count = 0, x0 = clip((k->ix[s] - REACH) / CELL, k->cells_x - 1);
    int64_t x1 = clip((k->ix[s] + REACH) / CELL, k->cells_x - 1);
    int64_t y0 = clip((k->iy[s] - REACH) / CELL, k->cells_y - 1);
    int64_t y1 = clip((k->iy[s] + REACH) / CELL, k->cells_y - 1);
    for (int64_t cy = y0; cy <= y1; cy++) {
        for (int64_t t = k->cell_start[cy * k->cells_x + x0]; t < k->cell_start[cy * k->cells_x + x1 + 1]; t++) {
            int near = abs(k->ix[t] - k->ix[s]) <= REACH && abs(k->iy[t] - k->iy[s]) <= REACH && t != s;
            if (near && column) column[count] = (int32_t)t;
            count += near;
        }
    }
    return count;
}

static void row_block(void *context, int64_t block)
{
    exposure_work *k = context;
    for (int64_t s = block * BLOCK; s < block_end(k, block); s++) {
        if (!k->column) {
            k->row_start[s + 1] = (neighbours(k, s, NULL) + LANES - 1) / LANES * LANES;
            continue;
        }
        int64_t at = k->row_start[s] + neighbours(k, s, k->column + k->row_start[s]);
        for (; at < k->row_start[s + 1]; at++) k->column[at] = (int32_t)s;
    }
}

static int matrix_rows(exposure_work *k, int threads)
{
    roman_parallel(threads, k->blocks, row_block, k);
    for (int64_t s = 0; s < k->n; s++) k->row_start[s + 1] += k->row_start[s];
    k->value = take(k, k->row_start[k->n], sizeof *k->value);
    k->column = take(k, k->row_start[k->n], sizeof *k->column);
    if (!k->value || !k->column) return ROMAN_ERR_MEMORY;
    roman_parallel(threads, k->blocks, row_block, k);
    return ROMAN_OK;
}

static int allocate(exposure_work *k)
{
    int64_t n = k->n, pieces = k->blocks > k->bands ? k->blocks : k->bands;
    k->cell_start = take(k, k->cells_x * k->cells_y + 2, sizeof *k->cell_start);
    k->order = take(k, n, sizeof *k->order);
    k->corner = take(k, n, sizeof *k->corner);
    k->offset = take(k, n, sizeof *k->offset);
    k->row_start = take(k, n + 1, sizeof *k->row_start);
    k->x = take(k, 4 * n, sizeof *k->x);
    k->half = take(k, 3 * n, sizeof *k->half);
    k->inverse = take(k, (3 + k->n_sky) * n, sizeof *k->inverse);
    k->pull = take(k, 6 * n, sizeof *k->pull);
    k->partial = take(k, pieces * PARTIALS, sizeof *k->partial);
    if (!k->cell_start || !k->order || !k->corner || !k->offset || !k->row_start || !k->x || !k->half ||
        !k->inverse || !k->pull || !k->partial) {
        return ROMAN_ERR_MEMORY;
    }
    k->y = k->x + n;
    k->expected = k->y + n;
    k->deviation = k->expected + n;
    k->ix = k->half + n;
    k->iy = k->ix + n;
    k->lambda = k->inverse + n;
    k->diagonal = k->lambda + n;
    k->coupling = k->diagonal + n;
    k->change = k->pull + n;
    k->d = k->change + n;
    k->r = k->d + n;
    k->p = k->r + n;
    k->q = k->p + n;
    return ROMAN_OK;
}

void roman_exposure_release(exposure_work *k)
{
    free(k->cell_start);
    free(k->order);
    free(k->corner);
    free(k->offset);
    free(k->row_start);
    free(k->x);
    free(k->half);
    free(k->inverse);
    free(k->pull);
    free(k->partial);
    free(k->stamps);
    free(k->cores);
    free(k->value);
    free(k->column);
}

int roman_exposure_work(exposure_work *k, const roman_frame *frame, const double *x, const double *y,
                        const int32_t *half, const double *expected, int threads)
{
    int status = allocate(k);
    if (status == ROMAN_OK) status = sort_stars(k, frame, x, y);
    if (status == ROMAN_OK) status = place_stars(k, frame, x, y, half, expected);
    if (status == ROMAN_OK) status = matrix_rows(k, threads);
    return status;
}
