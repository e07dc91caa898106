#include "optical_model.h"

#define KERNEL_BODY "optical_model_body.h"
#include "levels.h"

static int terms(int32_t count) { return count >= 1 && count <= ROMAN_MAX_TERMS; }

static int usable(const roman_optics *o)
{
    return terms(o->map_i) && terms(o->map_j) && terms(o->ids_i) && terms(o->ids_j) && terms(o->ids_k) &&
           terms(o->crv_i) && terms(o->crv_j) && terms(o->crv_k) && o->px_per_mm > 0 && o->deg_per_px > 0 &&
           (!o->logarithmic || o->reference > 0);
}

int roman_trace_points(const roman_optics *optics, int64_t n, const double *x0, const double *y0,
                       const double *wavelength, double *x, double *y, int32_t level)
{
    if (n < 0 || !usable(optics)) return ROMAN_ERR_ARGUMENT;
    return DISPATCH(level, trace_points, optics, n, x0, y0, wavelength, x, y);
}

int roman_trace_grid(const roman_optics *optics, int64_t n, const double *x0, const double *y0, int64_t m,
                     const double *wavelength, double *x, double *y, int32_t level)
{
    if (n < 0 || m < 0 || !usable(optics)) return ROMAN_ERR_ARGUMENT;
    return DISPATCH(level, trace_grid, optics, n, x0, y0, m, wavelength, x, y);
}

int roman_trace_slopes(const roman_optics *optics, int64_t n, const double *x0, const double *y0,
                       const double *wavelength, double *dx, double *dy, int32_t level)
{
    if (n < 0 || !usable(optics)) return ROMAN_ERR_ARGUMENT;
    return DISPATCH(level, trace_slopes, optics, n, x0, y0, wavelength, dx, dy);
}
