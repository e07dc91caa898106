#include "straight_trace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "roman_status.h"

#define TAPS 6     /* of a quintic B-spline: from BEFORE nodes before a place's to TAPS - BEFORE - 1 after */
#define BEFORE 2
#define PASS 8     /* rows of a stamp that are added in one pass */
#define MOST_NODES 100000000

typedef struct {
    const roman_profile *profile;
    const roman_trace *trace;
    const roman_cutout *cutout;
    float *pixels;
    double *light;
    int64_t taps;         /* rows of a stamp, up to a multiple of PASS */
    int64_t width;        /* of the samples of a row of a stamp: over_x times nx */
    int64_t first, rows;  /* pixel rows of nodes, with `taps` to spare on both sides */
    double *nodes;        /* [planes][rows][over_y] light of the nodes of a plane */
    float *weights;       /* [planes][over_y][rows] the same */
    double *place;        /* [cutout ny] x of the trace in a row */
    float *stamps;        /* [planes][over_y][taps][over_x][nx]; rows past ny are 0 */
    float *sums;          /* [rows][over_x][nx] of the samples in a row of pixels; of two rows or of all, with
                           * taps + 4 rows of zeros before and after them */
    int64_t *low, *high;  /* [planes] pixel rows with nodes that the plane's bins reach: low to high - 1 */
} straight;

static inline int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

#define KERNEL_BODY "straight_trace_body.h"
#include "levels.h"

static double slope_of(const roman_trace *t, int64_t bin)
{
    return (t->x[bin + 1] - t->x[bin]) / (t->y[bin + 1] - t->y[bin]);
}

int roman_is_sheared_for(const roman_profile *p, const roman_trace *t)
{
    int rising = t->y[1] > t->y[0];
    double reach = fmax(-p->row, p->row + p->ny);
    for (int64_t bin = 0; bin < t->bins; bin++) {
        double dy = t->y[bin + 1] - t->y[bin], share = t->share[bin];
        if (!((rising ? dy : -dy) > 1e-9)) return 0;
        double sheared = (1 - share) * p->slopes[t->plane[bin]];
        if (share > 0) sheared += share * p->slopes[t->plane[bin] + 1];
        if (!(fabs(slope_of(t, bin) - sheared) * reach <= ROMAN_SHEAR_ERROR)) return 0;
    }
    return 1;
}

/* Rows of nodes of each plane and of all; returns how many nodes a plane has. */
static int64_t lay_out(straight *s)
{
    const roman_profile *p = s->profile;
    const roman_trace *t = s->trace;
    int64_t bottom = INT64_MAX, top = INT64_MIN;
    for (int plane = 0; plane < p->planes; plane++) {
        s->low[plane] = INT64_MAX;
        s->high[plane] = INT64_MIN;
    }
    for (int64_t bin = 0; bin < t->bins; bin++) {
        double y0 = t->y[bin] * p->over_y, y1 = t->y[bin + 1] * p->over_y;
        int64_t low = floor_div((int64_t)floor(fmin(y0, y1)) - BEFORE, p->over_y);
        int64_t high = floor_div((int64_t)floor(fmax(y0, y1)) + TAPS - BEFORE - 1, p->over_y) + 1;
        for (int plane = t->plane[bin]; plane < p->planes && plane <= t->plane[bin] + 1; plane++) {
            if (low < s->low[plane]) s->low[plane] = low;
            if (high > s->high[plane]) s->high[plane] = high;
        }
        if (low < bottom) bottom = low;
        if (high > top) top = high;
    }
    s->first = bottom - s->taps;
    s->rows = top - bottom + 2 * s->taps + 2;
    return s->rows * p->over_y;
}

/* x of the trace in the rows of the cut-out; before its first edge and after its last it goes on straight. */
static void follow(straight *s)
{
    const roman_trace *t = s->trace;
    int rising = t->y[1] > t->y[0];
    int64_t bin = rising ? 0 : t->bins - 1;
    for (int64_t row = 0; row < s->cutout->ny; row++) {
        double y = (double)(row + s->cutout->row);
        while (rising && bin < t->bins - 1 && y > t->y[bin + 1]) bin++;
        while (!rising && bin > 0 && y > t->y[bin]) bin--;
        s->place[row] = fma(slope_of(t, bin), y - t->y[bin], t->x[bin]);
    }
}

/* The stamps of the planes that are used, the phases of a row side by side. */
static void arrange(straight *s)
{
    const roman_profile *p = s->profile;
    int64_t size = (int64_t)p->ny * p->nx;
    for (int64_t plane = 0; plane < p->planes; plane++) {
        if (s->low[plane] >= s->high[plane]) continue;
        for (int64_t k = 0; k < (int64_t)p->over_y * p->over_x; k++) {
            const float *from = p->stamps + (plane * p->over_y * p->over_x + k) * size;
            float *to = s->stamps + (plane * p->over_y + k / p->over_x) * s->taps * s->width + k % p->over_x * p->nx;
            for (int64_t j = 0; j < p->ny; j++) {
                memcpy(to + j * s->width, from + j * p->nx, (size_t)p->nx * sizeof *to);
            }
        }
    }
}

static int allocate(straight *s, int forward)
{
    const roman_profile *p = s->profile;
    s->taps = (p->ny + PASS - 1) / PASS * PASS;
    s->width = (int64_t)p->over_x * p->nx;
    s->low = malloc((size_t)(2 * p->planes) * sizeof *s->low);
    if (!s->low) return 0;
    s->high = s->low + p->planes;
    int64_t nodes = lay_out(s) * p->planes;
    if (nodes > MOST_NODES) return 0;
    s->nodes = calloc((size_t)nodes, sizeof *s->nodes);
    s->weights = calloc((size_t)nodes, sizeof *s->weights);
    s->place = malloc((size_t)s->cutout->ny * sizeof *s->place);
    s->stamps = calloc((size_t)(p->planes * p->over_y * s->taps * s->width), sizeof *s->stamps);
    s->sums = calloc((size_t)((forward ? 2 : s->cutout->ny + 2 * (s->taps + 4)) * s->width), sizeof *s->sums);
    if (!(s->nodes && s->weights && s->place && s->stamps && s->sums)) return 0;
    return 1;
}

int roman_disperse_straight(const roman_profile *profile, const roman_trace *trace, double *light,
                            const roman_cutout *cutout, float *pixels, int forward, int32_t level)
{
    straight s = {.profile = profile, .trace = trace, .cutout = cutout, .pixels = pixels, .light = light};
    int status = ROMAN_ERR_MEMORY;
    if (allocate(&s, forward)) {
        follow(&s);
        arrange(&s);
        status = forward ? DISPATCH(level, draw, &s) : DISPATCH(level, gather, &s);
    }
    free(s.low);
    free(s.nodes);
    free(s.weights);
    free(s.place);
    free(s.stamps);
    free(s.sums);
    return status;
}
