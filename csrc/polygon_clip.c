#include "polygon_clip.h"

#include <math.h>

#include "roman_status.h"

#define CORNERS 12 /* a quadrilateral cut by four lines has at most eight */

typedef struct {
    double x[CORNERS], y[CORNERS];
    int n;
} polygon;

/* The part of `in` on one side of a line x = at or y = at: where sign * (coordinate - at) >= 0. */
static void cut(const polygon *in, int along_y, double at, double sign, polygon *out)
{
    out->n = 0;
    for (int i = 0; i < in->n; i++) {
        int j = i + 1 < in->n ? i + 1 : 0;
        double here = sign * ((along_y ? in->y[i] : in->x[i]) - at);
        double next = sign * ((along_y ? in->y[j] : in->x[j]) - at);
        if (here >= 0) {
            out->x[out->n] = in->x[i];
            out->y[out->n++] = in->y[i];
        }
        if ((here >= 0) != (next >= 0)) {
            double t = here / (here - next);
            out->x[out->n] = along_y ? in->x[i] + t * (in->x[j] - in->x[i]) : at;
            out->y[out->n++] = along_y ? at : in->y[i] + t * (in->y[j] - in->y[i]);
        }
    }
}

static double area_of(const polygon *p)
{
    double sum = 0;
    for (int i = 1; i + 1 < p->n; i++) {
        sum += (p->x[i] - p->x[0]) * (p->y[i + 1] - p->y[0]) - (p->x[i + 1] - p->x[0]) * (p->y[i] - p->y[0]);
    }
    return 0.5 * fabs(sum);
}

/* First and last + 1 pixel of [0, size) that values reach. */
static int extent(const double *v, int64_t size, int64_t *from, int64_t *to)
{
    double low = fmin(fmin(v[0], v[1]), fmin(v[2], v[3])), high = fmax(fmax(v[0], v[1]), fmax(v[2], v[3]));
    *from = *to = 0;
    if (!isfinite(v[0] + v[1] + v[2] + v[3])) return 0;
    if (high < -0.5 || low > (double)size - 0.5) return 1;
    *from = low < 0 ? 0 : (int64_t)floor(low + 0.5);
    *to = high > (double)size - 1 ? size : (int64_t)floor(high + 0.5) + 1;
    return 1;
}

int roman_clip_sizes(int64_t n, const double *x, const double *y, int64_t ny, int64_t nx, int64_t *start)
{
    if (n < 0 || ny < 1 || nx < 1 || ny > INT32_MAX || nx > INT32_MAX) return ROMAN_ERR_ARGUMENT;
    start[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t r[2], c[2];
        if (!extent(y + 4 * i, ny, r, r + 1) || !extent(x + 4 * i, nx, c, c + 1)) return ROMAN_ERR_ARGUMENT;
        int64_t pixels = (r[1] - r[0]) * (c[1] - c[0]);
        if (pixels > INT64_MAX - start[i]) return ROMAN_ERR_ARGUMENT;
        start[i + 1] = start[i] + pixels;
    }
    return ROMAN_OK;
}

int roman_clip_areas(int64_t n, const double *x, const double *y, int64_t ny, int64_t nx, const int64_t *start,
                     int32_t *row, int32_t *column, double *area)
{
    if (n < 0 || ny < 1 || nx < 1 || ny > INT32_MAX || nx > INT32_MAX) return ROMAN_ERR_ARGUMENT;
    for (int64_t i = 0; i < n; i++) {
        polygon quad = {.n = 4}, a, strip, b, part;
        int64_t r[2], c[2], at = start[i];
        if (!extent(y + 4 * i, ny, r, r + 1) || !extent(x + 4 * i, nx, c, c + 1)) return ROMAN_ERR_ARGUMENT;
        if (start[i + 1] - at != (r[1] - r[0]) * (c[1] - c[0])) return ROMAN_ERR_ARGUMENT;
        if (start[i + 1] == at) continue;
        for (int k = 0; k < 4; k++) {
            quad.x[k] = x[4 * i + k];
            quad.y[k] = y[4 * i + k];
        }
        for (int64_t col = c[0]; col < c[1]; col++) {
            cut(&quad, 0, (double)col - 0.5, 1, &a);
            cut(&a, 0, (double)col + 0.5, -1, &strip);
            for (int64_t line = r[0]; line < r[1]; line++, at++) {
                cut(&strip, 1, (double)line - 0.5, 1, &b);
                cut(&b, 1, (double)line + 0.5, -1, &part);
                row[at] = (int32_t)line;
                column[at] = (int32_t)col;
                area[at] = area_of(&part);
            }
        }
    }
    return ROMAN_OK;
}
