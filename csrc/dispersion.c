#include "dispersion.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "roman_status.h"
#include "straight_trace.h"

#define TAPS 6            /* of a quintic B-spline: from BEFORE nodes before a place's to BEYOND - 1 after */
#define BEFORE 2
#define BEYOND 4
#define TOGETHER 8        /* stamps that are added in one pass: those of a pixel's four nodes in two planes */
#define MOST_NODES 100000000
#define FARTHEST 1e6      /* px */

/* The nodes near a trace: for every row of nodes the columns from low to high - 1, and where they begin; their light
 * in the lower and the upper plane. */
typedef struct {
    int64_t first_row, rows, *low, *high, *start;
    double *lower, *upper;
} nodes;

typedef struct {
    const roman_profile *profile;
    const roman_trace *trace;
    const roman_cutout *cutout;
    nodes grid;
    float *pixels;
    double *light;
    int forward;
} dispersion;

static inline int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

/* Pieces of a bin, each shorter than a node's spacing; the light of a piece is put down in two places. */
static inline int pieces_of(double dx, double dy) { return 1 + (int)(0.8 * fmax(fabs(dx), fabs(dy))); }

/* Where along its bin, 0 to 1, the k-th of 2 * pieces places is: the two of a piece have the first moments of light
 * that is even along it (Gauss and Legendre). */
static inline double place_of(int k, int pieces)
{
    return (k / 2 + (k % 2 ? 0.78867513459481288 : 0.21132486540518712)) / pieces;
}

#define KERNEL_BODY "dispersion_body.h"
#include "levels.h"

static int sound(const roman_profile *p, const roman_trace *t, const roman_cutout *c)
{
    if (p->planes < 1 || p->over_y < 1 || p->over_x < 1 || p->ny < 1 || p->nx < 1 || p->nx % ROMAN_STAMP_WIDTH ||
        c->ny < 0 || c->nx < 0 || t->bins < 1 || p->rank < 0 || p->rank % ROMAN_FACTORS || (p->rank && !p->slopes)) {
        return 0;
    }
    for (int64_t bin = 0; bin <= t->bins; bin++) {
        if (!(fabs(t->x[bin]) < FARTHEST && fabs(t->y[bin]) < FARTHEST)) return 0;
        if (bin == t->bins) break;
        int last = t->plane[bin] + (t->share[bin] > 0);
        if (t->plane[bin] < 0 || last >= p->planes || !(t->share[bin] >= 0 && t->share[bin] <= 1) ||
            (bin > 0 && t->plane[bin] < t->plane[bin - 1])) {
            return 0;
        }
    }
    return 1;
}

/* Whether all nodes' stamps lie within the columns of the cut-out. */
static int holds(const roman_profile *p, const roman_trace *t, const roman_cutout *c)
{
    double low = INFINITY, high = -INFINITY;
    for (int64_t bin = 0; bin <= t->bins; bin++) {
        low = fmin(low, t->x[bin]);
        high = fmax(high, t->x[bin]);
    }
    int64_t first = floor_div((int64_t)floor(low * p->over_x) - BEFORE, p->over_x) + p->column;
    int64_t last = floor_div((int64_t)floor(high * p->over_x) + BEYOND - 1, p->over_x) + p->column + p->nx;
    return first >= c->column && last <= (int64_t)c->column + c->nx;
}

/* Rows and columns of nodes that the bins reach; 0 if there is no memory for them. */
static int lay_out(const roman_profile *p, const roman_trace *t, nodes *g)
{
    double low = INFINITY, high = -INFINITY;
    for (int64_t bin = 0; bin <= t->bins; bin++) {
        low = fmin(low, t->y[bin]);
        high = fmax(high, t->y[bin]);
    }
    g->first_row = (int64_t)floor(low * p->over_y) - BEFORE;
    g->rows = (int64_t)floor(high * p->over_y) + BEYOND - g->first_row;
    g->low = malloc((size_t)(3 * g->rows + 1) * sizeof *g->low);
    if (!g->low) return 0;
    g->high = g->low + g->rows;
    g->start = g->high + g->rows;
    for (int64_t r = 0; r < g->rows; r++) {
        g->low[r] = INT64_MAX;
        g->high[r] = INT64_MIN;
    }
    for (int64_t bin = 0; bin < t->bins; bin++) {
        double x0 = t->x[bin] * p->over_x, x1 = t->x[bin + 1] * p->over_x;
        double y0 = t->y[bin] * p->over_y, y1 = t->y[bin + 1] * p->over_y;
        int64_t left = (int64_t)floor(fmin(x0, x1)) - BEFORE, right = (int64_t)floor(fmax(x0, x1)) + BEYOND;
        int64_t bottom = (int64_t)floor(fmin(y0, y1)) - BEFORE - g->first_row;
        int64_t top = (int64_t)floor(fmax(y0, y1)) + BEYOND - g->first_row;
        for (int64_t r = bottom; r < top; r++) {
            if (left < g->low[r]) g->low[r] = left;
            if (right > g->high[r]) g->high[r] = right;
        }
    }
    g->start[0] = 0;
    for (int64_t r = 0; r < g->rows; r++) g->start[r + 1] = g->start[r] + g->high[r] - g->low[r];
    int64_t count = g->start[g->rows];
    g->lower = count < MOST_NODES ? malloc((size_t)(2 * count) * sizeof *g->lower) : NULL;
    g->upper = g->lower ? g->lower + count : NULL;
    return g->lower != NULL;
}

static int run(dispersion *d, int32_t level)
{
    if (!sound(d->profile, d->trace, d->cutout)) return ROMAN_ERR_ARGUMENT;
    if (!d->forward) memset(d->light, 0, (size_t)d->trace->bins * sizeof *d->light);
    if (d->cutout->ny == 0) return ROMAN_OK;
    if (!d->profile->slopes && !holds(d->profile, d->trace, d->cutout)) return ROMAN_ERR_ARGUMENT;
    if (d->profile->slopes) {
        if (!roman_is_sheared_for(d->profile, d->trace)) return ROMAN_ERR_ARGUMENT;
        return roman_disperse_straight(d->profile, d->trace, d->light, d->cutout, d->pixels, d->forward, level);
    }
    int status = ROMAN_ERR_MEMORY;
    if (lay_out(d->profile, d->trace, &d->grid)) {
        for (int plane = 0; plane < d->profile->planes; plane++) DISPATCH(level, one_interval, d, plane);
        status = ROMAN_OK;
    }
    free(d->grid.lower);
    free(d->grid.low);
    return status;
}

int roman_disperse(const roman_profile *profile, const roman_trace *trace, const double *light,
                   const roman_cutout *cutout, float *pixels, int32_t level)
{
    dispersion d = {.profile = profile, .trace = trace, .cutout = cutout, .pixels = pixels,
                    .light = (double *)light, .forward = 1}; /* light is only read */
    return run(&d, level);
}

int roman_disperse_adjoint(const roman_profile *profile, const roman_trace *trace, const float *pixels,
                           const roman_cutout *cutout, double *light, int32_t level)
{
    dispersion d = {.profile = profile, .trace = trace, .cutout = cutout, .pixels = (float *)pixels,
                    .light = light}; /* pixels are only read */
    return run(&d, level);
}
