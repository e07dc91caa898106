#include "dispersion.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "parallel.h"
#include "roman_status.h"

#define WIDE 16          /* stamp columns that go together */
#define BLOCK 64         /* detector rows that go together */
#define BAND 64          /* image rows that a thread adds at a time */
#define ROWS 4           /* detector rows that a piece of light reaches */
#define MOMENTS 5
#define SUMS 4           /* of a stamp row in a detector row */
#define STRETCHES 24     /* most stretches of trace for one detector row */
#define FAINT 1e-3f      /* of the brightest pixel: the corners of its overlap do not matter */
#define RISE 0.15        /* px in y over a tile, by the matrix's c */
#define STEEP 0.010      /* dx/dy of a trace for which one stretch does */
#define STEEPER 0.014    /* of each of several */
/* In half widths of a stamp pixel, beyond which what overlaps the next column has another corner: */
#define SHEAR 0.3        /* how much the rows of a tile may differ in x */
#define DRIFT 0.4        /* how much its columns may drift from the detector's */
#define PHASE_ERROR 2e-4 /* of the brightest pixel, from expanding in a stamp row's place */
#define MOST_SIDE 1.13   /* of a stamp pixel on the detector [px] */

/* Pieces of light on their way into the moments. */
typedef struct {
    int n, bin[WIDE];
    double x[WIDE], y[WIDE], length[WIDE], row[WIDE];
    float light[WIDE], slope[WIDE], low[WIDE], from_row[WIDE], off[WIDE];
    float share[ROWS][WIDE], first[ROWS][WIDE], second[ROWS][WIDE], moment[ROWS][WIDE], change[ROWS][WIDE];
} pieces;

/* One source at work. */
typedef struct {
    const roman_sources *sources;
    const roman_traces *traces;
    float *cutout; /* written to, or read by the adjoint */
    double *light;
    int64_t source, box_row, box_column;
    int64_t stride;
    int ny, nx, rows, forward, status;
    double pitch, x, y; /* of the stamp's first pixel, from the reference place */
    int spread, use, blocks; /* stamp columns to a detector column, in a tile each; columns of a tile; tiles */
    float *pixels;      /* [spread][blocks][ny][WIDE], zeros beyond the stamp */
    float *bright;      /* [ny] largest pixel of a stamp row */
    float peak;         /* largest of them */
    const float *plane;
    /* of an interval */
    double a, b, c, d, x_middle, y_middle, slope, bend, drift, reach; /* slope, bend: of x by y, about the middle */
    double width;         /* of a stamp pixel in a detector row [px] */
    float side, per_side; /* height of a stamp pixel on the detector [px] */
    int stretches;
    int64_t first_row, n_rows;
    /* Sums over the light of an interval, [row][MOMENTS], for one place of a stamp row within a detector row (its
     * phase): flux in the detector row, its first two derivatives by the phase, first moment in x, its derivative. */
    float *moments[STRETCHES];
    double bright_x; /* a tile's brightest column, from the reference place [undispersed px] */
    /* of a group of stamp rows of nearly one phase */
    double phase;
    int *pending, *member; /* [ny] */
    int *base;             /* [ny] whole detector rows from the trace to a stamp row */
    float *offset;         /* [ny] of a stamp row's phase from its group's */
    float *shift;          /* [ny] of a tile's stamp rows in x, from the trace */
    int brightest;         /* of a tile's stamp rows */
    float *lowest, *highest; /* [ny] of the places of a tile's pixels that are not faint */
    float *place;          /* [ny] of a tile's stamp rows in the detector row at work */
    float *row_sums;       /* [ny][SUMS][BLOCK] */
} disperser;

static inline int stretches_of(double slope)
{
    double count = fabs(slope) < STEEP ? 1 : ceil(fabs(slope) / STEEPER);
    return count < STRETCHES ? (int)count : STRETCHES;
}

static inline double x_of_row(const disperser *k, double y)
{
    double away = y - k->y_middle;
    return k->x_middle + away * (k->slope + k->bend * away);
}

/* From the trace to stamp row i, in y, where the matrix puts the tile's brightest column. */
static inline double place_of_row(const disperser *k, int i)
{
    return k->d * fma(i, k->pitch, k->y) + k->c * k->bright_x;
}

static inline double slope_of_row(const disperser *k, double y) { return k->slope + 2 * k->bend * (y - k->y_middle); }

/* In x, from where the trace is straight on from a detector row to where stamp row i gets its light from. */
static inline double to_row(const disperser *k, int i)
{
    double base = k->base[i];
    return k->b * fma(i, k->pitch, k->y) + k->bend * base * base - k->drift * (double)k->offset[i];
}

#define KERNEL_BODY "dispersion_body.h"
#include "levels.h"

static int64_t stride(const roman_boxes *b, int64_t s) { return (int64_t)b->columns[s] + ROMAN_BOX_MARGIN; }

static float *floats(float **next, int64_t count)
{
    float *here = *next;
    *next += (count + WIDE - 1) / WIDE * WIDE;
    return here;
}

typedef struct {
    const roman_sources *sources;
    const roman_traces *traces;
    const roman_boxes *boxes;
    float *cutouts;
    double *light;
    int *status, forward;
    int64_t begin;
    int32_t level;
} job;

/* Most detector rows that the light of an interval reaches, and most stretches. */
static void extents(const roman_traces *t, int64_t s, int64_t *rows, int *stretches)
{
    const double *x = t->x + s * (t->bins + 1), *y = t->y + s * (t->bins + 1);
    *rows = 0;
    *stretches = 1;
    for (int j = 0; j < t->intervals; j++) {
        double low = INFINITY, high = -INFINITY;
        double dx = x[t->first[j + 1]] - x[t->first[j]], dy = y[t->first[j + 1]] - y[t->first[j]];
        for (int bin = t->first[j]; bin <= t->first[j + 1]; bin++) {
            low = y[bin] < low ? y[bin] : low;
            high = y[bin] > high ? y[bin] : high;
        }
        if (high - low + 16 > (double)*rows) *rows = (int64_t)(high - low) + 16;
        if (fabs(dy) > 0.5 && stretches_of(2 * dx / dy) > *stretches) *stretches = stretches_of(2 * dx / dy);
    }
}

/* Work space of source s in one block; NULL if there is none. */
static void *set_up(disperser *k, const job *j, int64_t s)
{
    const roman_sources *o = j->sources;
    int64_t rows;
    int stretches;
    extents(j->traces, s, &rows, &stretches);
    int64_t first = j->boxes->start[s] - j->boxes->start[j->begin];
    *k = (disperser){.sources = o, .traces = j->traces, .source = s, .ny = o->ny[s], .nx = o->nx[s],
                     .pitch = o->pitch[s], .x = o->x[s], .y = o->y[s], .box_row = j->boxes->row[s],
                     .box_column = j->boxes->column[s], .rows = j->boxes->rows[s], .stride = stride(j->boxes, s),
                     .forward = j->forward, .cutout = j->cutouts + first, .light = j->light + s * j->traces->bins};
    k->spread = (int)floor(1 / k->pitch + 0.5);
    if (k->spread < 1) k->spread = 1;
    k->use = WIDE;
    for (int i = 0; i < j->traces->intervals; i++) {
        const double *m = j->traces->matrix + (s * j->traces->intervals + i) * 4;
        double spacing = k->pitch * k->spread, drift = fabs(m[0] * spacing - 1), rise = fabs(m[2]) * spacing;
        if (drift * k->use * k->spread > DRIFT) k->use = (int)(DRIFT / (drift * k->spread));
        if (rise * k->use > RISE) k->use = (int)(RISE / rise);
    }
    if (k->use < 1) k->use = 1;
    k->blocks = (k->nx + k->use * k->spread - 1) / (k->use * k->spread);
    int64_t pixels = (int64_t)k->spread * k->blocks * k->ny * WIDE;
    int64_t count = pixels + 9 * (k->ny + WIDE) + SUMS * BLOCK * k->ny + (rows + WIDE) * stretches * MOMENTS + WIDE;
    float *block = calloc((size_t)count, sizeof *block), *next = block;
    if (!block) return NULL;
    k->pixels = floats(&next, pixels);
    k->bright = floats(&next, k->ny);
    k->pending = (int *)(void *)floats(&next, k->ny);
    k->member = (int *)(void *)floats(&next, k->ny);
    k->base = (int *)(void *)floats(&next, k->ny);
    k->offset = floats(&next, k->ny);
    k->shift = floats(&next, k->ny);
    k->place = floats(&next, k->ny);
    k->lowest = floats(&next, k->ny);
    k->highest = floats(&next, k->ny);
    k->row_sums = floats(&next, SUMS * BLOCK * (int64_t)k->ny);
    for (int i = 0; i < stretches; i++) k->moments[i] = floats(&next, rows * MOMENTS);
    return block;
}

static void disperse_source(void *context, int64_t at)
{
    const job *j = context;
    int64_t s = j->begin + at, pixels = j->boxes->columns[s] > 0 ? j->boxes->rows[s] * stride(j->boxes, s) : 0;
    disperser k;
    double *light = j->light + s * j->traces->bins;
    if (j->forward) memset(j->cutouts + j->boxes->start[s] - j->boxes->start[j->begin], 0, (size_t)pixels * sizeof(float));
    else memset(light, 0, (size_t)j->traces->bins * sizeof *light);
    if (pixels == 0) return;
    void *block = set_up(&k, j, s);
    j->status[at] = block ? DISPATCH(j->level, one_source, &k) : ROMAN_ERR_MEMORY;
    free(block);
}

static int sound(const job *j, int64_t end)
{
    const roman_sources *o = j->sources;
    const roman_traces *t = j->traces;
    if (j->begin < 0 || end < j->begin || end > o->n || t->bins < 1 || t->intervals < 1 || t->first[0] != 0 ||
        t->first[t->intervals] != t->bins) {
        return 0;
    }
    for (int i = 0; i < t->intervals; i++) {
        if (t->first[i + 1] < t->first[i]) return 0;
    }
    for (int64_t s = j->begin; s < end; s++) {
        if (o->ny[s] < 1 || o->nx[s] < 1 || !(o->pitch[s] > 0) || j->boxes->rows[s] < 0 || j->boxes->columns[s] < 0 ||
            (o->planes[s] != 1 && o->planes[s] != t->intervals + 1)) {
            return 0;
        }
        for (int i = 0; i < t->intervals; i++) {
            const double *m = t->matrix + (s * t->intervals + i) * 4;
            if (!(m[0] > 0 && m[0] * o->pitch[s] < MOST_SIDE && fabs(m[3]) > 0.1 &&
                  fabs(m[3]) * o->pitch[s] < MOST_SIDE && fabs(m[1]) < 0.5 && fabs(m[2]) < 0.5)) {
                return 0;
            }
        }
    }
    return 1;
}

static int run(job *j, int64_t end, int32_t threads)
{
    int status = ROMAN_OK;
    if (threads < 1 || !sound(j, end)) return ROMAN_ERR_ARGUMENT;
    j->status = calloc((size_t)(end - j->begin) + 1, sizeof *j->status);
    if (!j->status) return ROMAN_ERR_MEMORY;
    roman_parallel(threads, end - j->begin, disperse_source, j);
    for (int64_t s = 0; s < end - j->begin && status == ROMAN_OK; s++) status = j->status[s];
    free(j->status);
    return status;
}

int roman_disperse(const roman_sources *sources, const roman_traces *traces, const roman_boxes *boxes,
                   int64_t begin, int64_t end, const double *light, float *cutouts, int32_t threads, int32_t level)
{
    job j = {sources, traces, boxes, cutouts, (double *)light, NULL, 1, begin, level}; /* light is only read */
    return run(&j, end, threads);
}

int roman_disperse_adjoint(const roman_sources *sources, const roman_traces *traces, const roman_boxes *boxes,
                           int64_t begin, int64_t end, const float *cutouts, double *light, int32_t threads,
                           int32_t level)
{
    job j = {sources, traces, boxes, (float *)cutouts, light, NULL, 0, begin, level}; /* cut-outs are only read */
    return run(&j, end, threads);
}

/* --- between cut-outs and image ------------------------------------------------------------------- */

typedef struct {
    const roman_boxes *boxes;
    float *cutouts, *image;
    int64_t begin, end, ny, nx;
} transfer;

/* The part of cut-out s in image rows `from` to `to` - 1: first and last + 1 of its rows and columns. */
static int overlap(const transfer *t, int64_t s, int64_t from, int64_t to, int64_t *r, int64_t *c)
{
    const roman_boxes *b = t->boxes;
    r[0] = from > b->row[s] ? from - b->row[s] : 0;
    r[1] = to < b->row[s] + b->rows[s] ? to - b->row[s] : b->rows[s];
    c[0] = b->column[s] < 0 ? -b->column[s] : 0;
    c[1] = t->nx < b->column[s] + b->columns[s] ? t->nx - b->column[s] : b->columns[s];
    return r[0] < r[1] && c[0] < c[1];
}

static void add_band(void *context, int64_t band)
{
    const transfer *t = context;
    const roman_boxes *b = t->boxes;
    int64_t from = band * BAND, to = from + BAND < t->ny ? from + BAND : t->ny, r[2], c[2];
    for (int64_t s = t->begin; s < t->end; s++) {
        if (!overlap(t, s, from, to, r, c)) continue;
        for (int64_t row = r[0]; row < r[1]; row++) {
            const float *in = t->cutouts + b->start[s] - b->start[t->begin] + row * stride(b, s);
            float *out = t->image + (b->row[s] + row) * t->nx + b->column[s];
            for (int64_t column = c[0]; column < c[1]; column++) out[column] += in[column];
        }
    }
}

static void take_source(void *context, int64_t at)
{
    const transfer *t = context;
    const roman_boxes *b = t->boxes;
    int64_t r[2], c[2], s = t->begin + at;
    float *out = t->cutouts + b->start[s] - b->start[t->begin];
    memset(out, 0, (size_t)(b->rows[s] * stride(b, s)) * sizeof *out);
    if (!overlap(t, s, 0, t->ny, r, c)) return;
    for (int64_t row = r[0]; row < r[1]; row++) {
        const float *in = t->image + (b->row[s] + row) * t->nx + b->column[s];
        memcpy(out + row * stride(b, s) + c[0], in + c[0], (size_t)(c[1] - c[0]) * sizeof *out);
    }
}

int roman_cutouts_add(const roman_boxes *boxes, int64_t begin, int64_t end, const float *cutouts, int64_t ny,
                      int64_t nx, float *image, int32_t threads)
{
    if (begin < 0 || end < begin || ny < 1 || nx < 1 || threads < 1) return ROMAN_ERR_ARGUMENT;
    transfer t = {boxes, (float *)cutouts, image, begin, end, ny, nx}; /* cut-outs are only read */
    roman_parallel(threads, (ny + BAND - 1) / BAND, add_band, &t);
    return ROMAN_OK;
}

int roman_cutouts_take(const roman_boxes *boxes, int64_t begin, int64_t end, int64_t ny, int64_t nx,
                       const float *image, float *cutouts, int32_t threads)
{
    if (begin < 0 || end < begin || ny < 1 || nx < 1 || threads < 1) return ROMAN_ERR_ARGUMENT;
    transfer t = {boxes, cutouts, (float *)image, begin, end, ny, nx}; /* the image is only read */
    roman_parallel(threads, end - begin, take_source, &t);
    return ROMAN_OK;
}
