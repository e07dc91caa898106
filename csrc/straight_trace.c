#include "straight_trace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "roman_status.h"

#define TAPS 6     /* of a quintic B-spline: from BEFORE nodes before a place's to TAPS - BEFORE - 1 after */
#define BEFORE 2
#define PASS 8     /* rows of a stamp that are added in one pass */
#define MOST_NODES 100000000
#define MARGIN 16  /* zeros around a row's samples, more than a spline reaches */
#define QUEUE 16   /* places whose splines are worked out at once */
#define FIRST_PLACE 0.21132486540518712 /* along a piece of a bin, of the two by Gauss and Legendre */
#define SECOND_PLACE 0.78867513459481288

typedef struct {
    const roman_profile *profile;
    const roman_trace *trace;
    const roman_cutout *cutout;
    float *pixels;
    double *light;
    int64_t taps;         /* rows of a stamp, up to a multiple of PASS */
    int64_t width;        /* of the samples of a row of a stamp: over_x times nx */
    int64_t first, rows;  /* pixel rows of nodes, with some to spare on both sides */
    int64_t bottom, top;  /* rows of the cut-out that light can reach: bottom to top - 1 */
    double *nodes;        /* [planes + 1][rows][over_y] light of the nodes of a plane */
    float *weights;       /* [planes][over_y][rows] the same */
    double *place;        /* [cutout ny] x of the trace in a row that is reached */
    float *stamps;        /* [planes][over_y][taps][over_x][nx]; rows past ny are 0 */
    float *sums;          /* [rows][over_x][nx] of the samples in a row of pixels; of two rows or of all, with
                           * taps + 4 rows of zeros before and after them. Of factors: [rank][span], and two
                           * times four rows with margins; the adjoint of these has its own */
    int64_t *low, *high;  /* [planes] pixel rows with nodes that the plane's bins reach: low to high - 1 */
} straight;

static inline int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

/* Rows of factors along the trace. */
static inline int64_t taps_of(const roman_profile *p) { return (p->ny + ROMAN_FACTORS - 1) / ROMAN_FACTORS * ROMAN_FACTORS; }

/* Room for the rows that are reached, in whole vectors. */
static inline int64_t span_of(const straight *s)
{
    return ((s->top - s->bottom) / ROMAN_STAMP_WIDTH + 2) * ROMAN_STAMP_WIDTH;
}

#define KERNEL_BODY "straight_trace_body.h"
#include "levels.h"

static double slope_of(const roman_trace *t, int64_t bin)
{
    return (t->x[bin + 1] - t->x[bin]) / (t->y[bin + 1] - t->y[bin]);
}

int roman_is_sheared_for(const roman_profile *p, const roman_trace *t)
{
    double rising = t->y[1] > t->y[0] ? 1 : -1, reach = fmax(-p->row, p->row + p->ny);
    for (int64_t bin = 0; bin < t->bins; bin++) {
        double dx = t->x[bin + 1] - t->x[bin], dy = t->y[bin + 1] - t->y[bin], share = t->share[bin];
        const double *slope = p->slopes + t->plane[bin];
        double sheared = share > 0 ? (1 - share) * slope[0] + share * slope[1] : slope[0];
        if (!(dy * rising > 1e-9 && fabs(dx - sheared * dy) * reach <= ROMAN_SHEAR_ERROR * fabs(dy))) return 0;
    }
    return 1;
}

/* Rows of nodes that bins from `from` to `end` - 1 reach. */
static void nodes_of_bins(const straight *s, int64_t from, int64_t end, int64_t *low, int64_t *high)
{
    int64_t over = s->profile->over_y;
    double y0 = s->trace->y[from] * (double)over, y1 = s->trace->y[end] * (double)over;
    *low = floor_div((int64_t)floor(fmin(y0, y1)) - BEFORE, over);
    *high = floor_div((int64_t)floor(fmax(y0, y1)) + TAPS - BEFORE - 1, over) + 1;
}

/* Rows of nodes of each plane and of all, and the rows that they reach; returns how many nodes a plane has. */
static int64_t lay_out(straight *s)
{
    const roman_profile *p = s->profile;
    const roman_trace *t = s->trace;
    int64_t low, high;
    for (int plane = 0; plane < p->planes; plane++) {
        s->low[plane] = INT64_MAX;
        s->high[plane] = INT64_MIN;
    }
    for (int64_t bin = 0, end; bin < t->bins; bin = end) {
        for (end = bin + 1; end < t->bins && t->plane[end] == t->plane[bin];) end++;
        nodes_of_bins(s, bin, end, &low, &high);
        for (int plane = t->plane[bin]; plane < p->planes && plane <= t->plane[bin] + 1; plane++) {
            if (low < s->low[plane]) s->low[plane] = low;
            if (high > s->high[plane]) s->high[plane] = high;
        }
    }
    nodes_of_bins(s, 0, t->bins, &low, &high);
    for (int plane = 0; plane < p->planes; plane++) {
        if (s->low[plane] > s->high[plane]) s->low[plane] = s->high[plane] = low; /* serves no bin */
    }
    s->first = low - s->taps - ROMAN_STAMP_WIDTH;
    s->rows = high - low + 2 * (s->taps + ROMAN_STAMP_WIDTH) + 2;
    int64_t bottom = low + p->row - s->cutout->row, top = high + p->ny - 1 + p->row - s->cutout->row;
    s->bottom = bottom > 0 ? bottom : 0;
    s->top = top < s->cutout->ny ? top : s->cutout->ny;
    if (s->top < s->bottom) s->top = s->bottom;
    return s->rows * p->over_y;
}

/* x of the trace in the rows that are reached; before its first edge and after its last it goes on straight. */
static void follow(straight *s)
{
    const roman_trace *t = s->trace;
    int rising = t->y[1] > t->y[0];
    int64_t bin = rising ? 0 : t->bins - 1;
    for (int64_t row = s->bottom; row < s->top; row++) {
        double y = (double)(row + s->cutout->row);
        while (rising && bin < t->bins - 1 && y > t->y[bin + 1]) bin++;
        while (!rising && bin > 0 && y > t->y[bin]) bin--;
        s->place[row] = t->x[bin] + slope_of(t, bin) * (y - t->y[bin]);
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

/* Floats of the space for sums. */
static int64_t room(const straight *s, int forward)
{
    const roman_profile *p = s->profile;
    if (p->rank) return forward ? p->rank * span_of(s) + 8 * (int64_t)p->over_x * (p->nx + 2 * MARGIN) : 1;
    return (forward ? 2 : s->top - s->bottom + 2 * (s->taps + 4)) * s->width;
}

/* Space for a profile's stamps, in the order in which rows are drawn; none is needed for factors. */
static int arranged(straight *s)
{
    const roman_profile *p = s->profile;
    if (p->rank) return 1;
    s->stamps = calloc((size_t)(p->planes * p->over_y * s->taps * s->width), sizeof *s->stamps);
    if (!s->stamps) return 0;
    arrange(s);
    return 1;
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
    s->nodes = calloc((size_t)(nodes + nodes / p->planes), sizeof *s->nodes); /* one more, of which none has a share */
    s->weights = calloc((size_t)nodes, sizeof *s->weights);
    s->place = malloc((size_t)s->cutout->ny * sizeof *s->place);
    s->sums = calloc((size_t)room(s, forward), sizeof *s->sums);
    return s->nodes && s->weights && s->place && s->sums && arranged(s);
}

static int run(straight *s, int forward, int32_t level)
{
    if (s->profile->rank) return forward ? DISPATCH(level, draw_factors, s) : DISPATCH(level, gather_factors, s);
    return forward ? DISPATCH(level, draw, s) : DISPATCH(level, gather, s);
}

int roman_disperse_straight(const roman_profile *profile, const roman_trace *trace, double *light,
                            const roman_cutout *cutout, float *pixels, int forward, int32_t level)
{
    straight s = {.profile = profile, .trace = trace, .cutout = cutout, .pixels = pixels, .light = light};
    int status = ROMAN_ERR_MEMORY;
    if (allocate(&s, forward)) {
        status = ROMAN_OK;
        follow(&s);
        if (s.bottom < s.top) status = run(&s, forward, level);
    }
    free(s.low);
    free(s.nodes);
    free(s.weights);
    free(s.place);
    free(s.stamps);
    free(s.sums);
    return status;
}
