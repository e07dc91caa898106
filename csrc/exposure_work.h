/* Working memory of exposure_fit.c: the stars in the order of their cells, their stamps, and which are neighbours. */
#ifndef ROMAN_EXPOSURE_WORK_H
#define ROMAN_EXPOSURE_WORK_H

#include "exposure_fit.h"
#include "lanes.h"

#define CELL 8       /* side of the cells that order stars and find neighbours [px] */
#define CORE 3       /* half size of the cores that the approximate matrix is made of: a row is LANES floats */
/* Nearly where cores meet, and the sky meets the cores only: the approximate matrix is that of stars without
 * wings, positive definite however dense they are. */
#define REACH (2 * CORE - 1)
#define CORE_FLOATS ((2 * CORE + 1) * LANES)
#define BLOCK 2048   /* stars, and BAND rows: pieces that threads share */
#define BAND 64
#define PARTIALS 48  /* sums of a piece: more than the sky's matrix and right-hand side */

typedef struct {
    int64_t n, blocks, bands, rows, stride, plane, pad;
    int n_sky, max_half, want_sky_matrix;
    const roman_psf_field *field;
    const float *weight, *basis;
    float *residual;
    int64_t *order; /* input index of each star, stars being sorted by cell */
    double *x, *y, *expected, *deviation; /* deviation: (flux - expected) in the star's own sigma */
    int32_t *half, *ix, *iy;
    int64_t *corner, *offset, *cell_start, cells_x, cells_y;
    float *stamps, *cores;
    float *inverse, *lambda, *diagonal, *coupling; /* 1 / sqrt(sum w psi^2); prior; approximate; sum w psi T_k scaled */
    int64_t *row_start;
    int32_t *column;
    float *value;
    float *pull, *change, *d, *r, *p, *q;
    double *partial, step, shift[ROMAN_MAX_SKY], sky_step[ROMAN_MAX_SKY];
    double factor[ROMAN_MAX_SKY * ROMAN_MAX_SKY], sky_pull[ROMAN_MAX_SKY]; /* Cholesky; sum w T_k r */
    double strength, spread, damping;
    int64_t bytes;
} exposure_work;

static inline int64_t block_end(const exposure_work *k, int64_t block)
{
    return (block + 1) * BLOCK < k->n ? (block + 1) * BLOCK : k->n;
}

static inline int64_t clip(int64_t v, int64_t most) { return v < 0 ? 0 : v > most ? most : v; }

/* First star of the row of cells that holds a row of pixels, n beyond the last. */
static inline int64_t first_star(const exposure_work *k, int64_t row)
{
    return row >= k->rows ? k->n : k->cell_start[clip(row / CELL, k->cells_y - 1) * k->cells_x];
}

static inline int is_outside(const exposure_work *k, int64_t s)
{
    return k->ix[s] < k->pad || k->iy[s] < k->pad || k->ix[s] >= k->stride - k->pad || k->iy[s] >= k->rows - k->pad;
}

/* Memory, order of the stars and rows of the approximate matrix; what `work` says of sizes must be set. Returns a status;
 * roman_exposure_release in any case. */
int roman_exposure_work(exposure_work *work, const roman_frame *frame, const double *x, const double *y,
                        const int32_t *half, const double *expected, int threads);

void roman_exposure_release(exposure_work *work);

#endif
